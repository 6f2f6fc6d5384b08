"""The EuroSAT chips."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.eurosat import CLASSES, Entry, read_entries, split
from tests.inference.archives import small_rows, write_archive


def test_the_split_is_by_file_number_within_each_class(sample_data: Path) -> None:
    with zipfile.ZipFile(sample_data / "eurosat_rgb_train.zip") as archive:
        entries = read_entries(archive)
    training, validation = split(entries)
    assert sorted(e.file for e in [*training, *validation]) == sorted(e.file for e in entries)
    for label in CLASSES:
        kept = [e.number for e in training if e.label == label]
        held_out = [e.number for e in validation if e.label == label]
        assert max(kept) < min(held_out)
        assert len(held_out) / (len(kept) + len(held_out)) == pytest.approx(0.2, abs=0.001)


def test_numbers_are_compared_as_numbers() -> None:
    entries = [Entry(f"Forest_{n}.jpg", "Forest", "", n) for n in (10, 9, 2, 1, 100)]
    assert [e.number for e in split(entries)[1]] == [100]


def test_chips_come_decoded_with_their_labels(sample_data: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "small.zip", small_rows(sample_data))
    training, validation = eurosat.load(archive)
    assert training.chips.shape == (40, 3, 64, 64)
    assert validation.labels.tolist() == list(range(10))
    sea, forest = CLASSES.index("SeaLake"), CLASSES.index("Forest")
    brightness = [training.chips[training.labels == c, 0].mean() for c in (sea, forest)]
    assert all(0 < value < 100 for value in brightness)  # both are dark in red
    assert np.ptp(training.chips) > 100


def test_a_chip_that_does_not_match_its_digest_is_refused(
    sample_data: Path, tmp_path: Path
) -> None:
    rows = small_rows(sample_data)
    archive = write_archive(tmp_path / "small.zip", rows)
    with zipfile.ZipFile(archive) as original, zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name in original.namelist():
            changed = rows[1][2] if name == rows[0][0] else original.read(name)
            bad.writestr(name, changed)
    with pytest.raises(InvalidInput, match="digest"):
        eurosat.load(tmp_path / "bad.zip")


@pytest.mark.parametrize(
    ("file", "label"), [("Forest/Forest.jpg", "Forest"), ("Moon/Moon_1.jpg", "Moon")]
)
def test_lines_that_are_no_eurosat_chips_are_refused(tmp_path: Path, file: str, label: str) -> None:
    with pytest.raises(InvalidInput, match="no EuroSAT chip"):
        eurosat.load(write_archive(tmp_path / "a.zip", [(file, label, b"")]))


def test_a_chip_that_is_no_jpeg_is_refused(tmp_path: Path) -> None:
    rows = [(f"{label}/{label}_{n}.jpg", label, b"GIF89a") for label in CLASSES for n in range(5)]
    with pytest.raises(InvalidInput, match="JPEG"):
        eurosat.load(write_archive(tmp_path / "a.zip", rows))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(InvalidInput, match="not a readable zip"):
        eurosat.load(tmp_path / "a.zip")
    with pytest.raises(InvalidInput, match="not a readable zip"):
        eurosat.load(tmp_path / "gone.zip")
