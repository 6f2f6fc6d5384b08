"""The EuroSAT RGB chips: a zip of JPEG chips with `labels.csv` (file, label, sha256)."""

import csv
import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import InvalidInput

CHIP_PX = 64
BANDS = ("red", "green", "blue")
CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
VALIDATION_SHARE = 0.2
LABELS_FILE = "labels.csv"


@dataclass(frozen=True, slots=True)
class LabelledChips:
    """Chips (n, 3, 64, 64) uint8, red, green, blue; labels (n,) int64, indices into CLASSES."""

    chips: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the label file, with the number in the chip's file name."""

    file: str
    label: str
    sha256: str
    number: int


def load(archive_path: Path) -> tuple[LabelledChips, LabelledChips]:
    """Training and validation chips of the archive, about 265 MB for 21,600 chips.

    Raises InvalidInput for an archive that is not EuroSAT's or whose chips do not match their
    digests.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            training, validation = split(read_entries(archive))
            return read_chips(archive, training), read_chips(archive, validation)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise InvalidInput(
            f"{archive_path.name} is not a readable zip of EuroSAT chips with {LABELS_FILE}",
            field="data",
        ) from error


def read_entries(archive: zipfile.ZipFile) -> list[Entry]:
    """The label file, checked: known classes, numbered names."""
    entries = []
    for row in csv.DictReader(io.TextIOWrapper(archive.open(LABELS_FILE), "utf-8")):
        numbered = re.fullmatch(r".*_(\d+)\.jpg", row.get("file") or "")
        if numbered is None or row.get("label") not in CLASSES:
            raise InvalidInput(f"{LABELS_FILE} has a line that is no EuroSAT chip: {row}")
        entries.append(Entry(row["file"], row["label"], row["sha256"], int(numbered[1])))
    return entries


def split(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The last 20 % of each class by file number are for validation, the rest for training.

    File numbers are the data set's own, so anybody can make the same split.
    """
    training: list[Entry] = []
    validation: list[Entry] = []
    for label in CLASSES:
        members = sorted((e for e in entries if e.label == label), key=lambda e: e.number)
        kept = len(members) - round(len(members) * VALIDATION_SHARE)
        training += members[:kept]
        validation += members[kept:]
    return training, validation


def read_chips(archive: zipfile.ZipFile, entries: Sequence[Entry]) -> LabelledChips:
    """Decode the entries' chips, in their order, each checked against its digest."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    chips = np.empty((len(entries), len(BANDS), CHIP_PX, CHIP_PX), np.uint8)
    with rasterio.Env(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # these chips have no place
        for position, entry in enumerate(entries):
            content = archive.read(entry.file)
            if hashlib.sha256(content).hexdigest() != entry.sha256:
                raise InvalidInput(f"chip {entry.file} does not match its digest")
            chips[position] = decode(content)
    labels = np.array([CLASSES.index(entry.label) for entry in entries], np.int64)
    return LabelledChips(chips, labels)


def decode(content: bytes) -> NDArray[np.uint8]:
    """One JPEG chip as (3, 64, 64) uint8. Raises InvalidInput for any other image."""
    from rasterio.errors import RasterioIOError
    from rasterio.io import MemoryFile

    try:
        with MemoryFile(content) as file, file.open(driver="JPEG") as image:
            chip: NDArray[np.uint8] = image.read()
    except RasterioIOError as error:
        raise InvalidInput("a chip is not a readable JPEG") from error
    if chip.shape != (len(BANDS), CHIP_PX, CHIP_PX):
        raise InvalidInput(f"a chip has shape {chip.shape}, not (3, 64, 64)")
    return chip
