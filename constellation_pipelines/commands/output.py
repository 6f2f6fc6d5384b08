"""How commands print: tables for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

WIDE = 1000
UNKNOWN = "-"
GAP = 3  # between two columns
READABLE = 12
FIGURE = re.compile(r"-?[0-9][0-9,]*(\.[0-9]+)?")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """Print JSON, indented."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print a table, or one line when there are no rows.

    Columns of figures are right-aligned. Ids are not broken where there is room for them, so that
    they can be copied.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = [[cell(value) for value in row] for row in rows]
    if not listed:
        typer.echo(empty)
        return
    # A file or pipe has no edge to wrap at.
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    shown = [
        [name, *column] for name, column in zip(columns, zip(*listed, strict=True), strict=True)
    ]
    room = sum(map(least_width, shown)) + GAP * len(shown) <= console.width
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, *column in shown:
        table.add_column(
            name,
            justify="right" if consists_of(FIGURE, column) else "left",
            overflow="fold",
            no_wrap=room and consists_of(ID, column),
        )
    for row in listed:
        table.add_row(*map(Text, row))
    console.print(table)


def least_width(column: Sequence[str]) -> int:
    """How narrow a column can be and still be read. The first of its cells is its name."""
    widest = max(map(len, column))
    return widest if consists_of(ID, column[1:]) else min(widest, READABLE)


def consists_of(form: re.Pattern[str], column: Sequence[str]) -> bool:
    """Whether all cells that say something have this form, and one of them does."""
    told = [one for one in column if one != UNKNOWN]
    return bool(told) and all(map(form.fullmatch, told))


def print_facts(facts: dict[str, Any]) -> None:
    """Print names and values, one pair a line, leaving out what is not known."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"{name.ljust(width)}  {cell(value)}")


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return printable(str(value))


def moment(text: str | None) -> str | None:
    """An instant of the API in the person's time zone, to the second."""
    if text is None:
        return None
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str) -> str:
    """`text` without what could move the cursor or colour the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
