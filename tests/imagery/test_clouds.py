"""Which pixels of a quality mask are clouded."""

import numpy as np
import pytest

from constellation_pipelines.domain.quality import QualityKind
from constellation_pipelines.imagery.clouds import cloud_fraction, cloud_mask, observed_mask

SCL, QA = QualityKind.SCL, QualityKind.QA_PIXEL
CLEAR_LAND = 21824  # as in USGS's table of Landsat 8-9 Collection 2 pixel values


def test_every_class_of_sentinel_2_is_clouded_or_not() -> None:
    classes = np.arange(12, dtype=np.uint8)
    assert classes[cloud_mask(SCL, classes)].tolist() == [3, 8, 9, 10]
    assert classes[observed_mask(SCL, classes)].tolist() == list(range(1, 12))


@pytest.mark.parametrize(
    ("value", "clouded"),
    [
        (1, False),  # fill
        (21824, False),  # clear with lows set
        (21826, True),  # dilated cloud over land
        (21888, False),  # water with lows set
        (21890, True),  # dilated cloud over water
        (22080, False),  # cloud of middling confidence: the bit `clear` is set, `cloud` is not
        (22144, False),  # the same over water
        (22280, True),  # high confidence cloud
        (23888, True),  # high confidence cloud shadow
        (23952, True),  # water with cloud shadow
        (24088, True),  # mid confidence cloud with shadow
        (24216, True),  # mid confidence cloud with shadow over water
        (24344, True),  # high confidence cloud with shadow
        (24472, True),  # high confidence cloud with shadow over water
        (30048, False),  # high confidence snow
        (54596, True),  # high confidence cirrus
        (54852, True),  # cirrus, mid cloud
        (55052, True),  # cirrus, high cloud
        (56856, True),  # cirrus with cloud shadow
    ],
)
def test_values_of_landsat_mean_what_usgs_says(value: int, clouded: bool) -> None:
    for dtype in (np.uint16, np.int32):
        assert cloud_mask(QA, np.array([[value]], dtype=dtype)).tolist() == [[clouded]]


def test_fill_of_landsat_is_no_cloud_whatever_its_other_bits() -> None:
    values = np.array([0b11111, 0b11110], dtype=np.uint16)
    assert cloud_mask(QA, values).tolist() == [False, True]
    assert observed_mask(QA, values).tolist() == [False, True]


def test_the_fraction_is_of_the_pixels_with_data() -> None:
    assert cloud_fraction(SCL, np.array([[0, 0], [4, 9]], dtype=np.uint8)) == 0.5
    assert cloud_fraction(SCL, np.zeros((2, 2), dtype=np.uint8)) == 0
    assert cloud_fraction(QA, np.array([1, CLEAR_LAND, 22280, 22280], dtype=np.uint16)) == 2 / 3
