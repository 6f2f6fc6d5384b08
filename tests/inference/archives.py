"""A small EuroSAT archive made of the loose chips: five a class."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path


def write_archive(path: Path, rows: Sequence[tuple[str, str, bytes]]) -> Path:
    """An archive of (file, label, content), with a truthful label file."""
    labels = io.StringIO()
    writer = csv.writer(labels)
    writer.writerow(["file", "label", "sha256"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, label, content in rows:
            archive.writestr(file, content)
            writer.writerow([file, label, hashlib.sha256(content).hexdigest()])
        archive.writestr("labels.csv", labels.getvalue())
    return path


def small_rows(sample_data: Path) -> list[tuple[str, str, bytes]]:
    """The loose chips as lines of an archive."""
    return [
        (f"{path.parent.name}/{path.name}", path.parent.name, path.read_bytes())
        for path in sorted((sample_data / "chips").glob("*/*.jpg"))
    ]
