"""Labels from spectral indices."""

from pathlib import Path

import numpy as np
import pytest

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.inference.weak_labels import (
    CLASSES,
    UNLABELLED,
    grow,
    holds_data,
    label,
    read_scene,
    wanted,
)

# red, green, blue, near infrared as reflectance, and what it is
SPECTRA = {
    "clear sea": (0.03, 0.05, 0.07, 0.01, "Water"),
    "turbid lake": (0.10, 0.14, 0.08, 0.05, "Water"),
    "meadow": (0.04, 0.08, 0.04, 0.40, "Vegetation"),
    "dry soil": (0.18, 0.14, 0.11, 0.21, "BareOrBuilt"),
    "asphalt": (0.10, 0.10, 0.10, 0.11, "BareOrBuilt"),
    "fresh snow": (0.95, 0.96, 0.97, 0.85, "SnowOrCloud"),
    "thick cloud": (0.70, 0.70, 0.72, 0.70, "SnowOrCloud"),
    "haze over forest": (0.30, 0.30, 0.32, 0.45, None),
    "sparse grass": (0.14, 0.12, 0.10, 0.19, None),
    "no light": (0.0, 0.0, 0.0, 0.0, "BareOrBuilt"),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_known_spectra_get_their_class(name: str) -> None:
    *spectrum, expected = SPECTRA[name]
    values = {
        band: np.full((2, 2), value, np.float32)
        for band, value in zip(("red", "green", "blue", "nir"), spectrum, strict=True)
    }
    value = UNLABELLED if expected is None else CLASSES.index(expected)
    assert (label(values, calibrated=True) == value).all()


def test_without_reflectance_nothing_is_taken_for_snow() -> None:
    white = {band: np.ones((2, 2), np.float32) for band in ("red", "green", "blue", "nir")}
    assert (label(white, calibrated=False) == CLASSES.index("BareOrBuilt")).all()


def test_emptiness_its_rim_and_what_is_written_into_it_hold_no_data() -> None:
    stored = np.full((3, 60, 60), 255, np.uint8)
    stored[:, :, :30] = 80
    stored[:, 45:48, 40:55] = 130  # a logo
    valid = holds_data(stored, None)
    assert valid[30, 5]
    assert not valid[:, 30:].any()
    assert not valid[:, 28:30].any()


def test_a_mask_grows_by_so_many_pixels_to_every_side() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    assert grow(mask, 2).sum() == 25
    assert grow(mask, 0).sum() == 1


def test_a_real_scene_is_labelled_where_it_has_data(sample_data: Path) -> None:
    scene = describe_scene(sample_data / "scenes" / "naip_2018_nd_26914_rgbn.tif")
    labelled = read_scene(scene, 0.5)
    assert labelled.values.shape == (3, 724, 934)
    assert 0 <= labelled.values.min() <= labelled.values.max() <= 1
    shares = np.bincount(labelled.labels.ravel(), minlength=256) / labelled.labels.size
    assert 0.15 < shares[CLASSES.index("Water")] < 0.3  # a country of lakes
    assert shares[CLASSES.index("Vegetation")] > 0.5
    assert shares[CLASSES.index("SnowOrCloud")] == 0  # in July


def test_a_scene_without_near_infrared_is_not_wanted(sample_data: Path) -> None:
    scene = describe_scene(sample_data / "scenes" / "s2_tci_libya_32634.tif")
    assert wanted(scene) is None
    with pytest.raises(InvalidInput, match="near infrared"):
        read_scene(scene, 0.5)
