"""CSV that spreadsheets may open."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_of(columns: Sequence[str], rows: Iterable[object]) -> str:
    """These members of each row as CSV (RFC 4180) with a header; a cell that begins like a formula
    is none.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([plain(getattr(row, name)) for name in columns])
    return text.getvalue()


def plain(value: object) -> object:
    """A value for a cell: spreadsheets take a text that begins with = + - @ for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t" else value
