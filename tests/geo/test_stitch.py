"""Overlapping chips along a side."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.geo.stitch import Axis


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    chip_px = draw(st.integers(1, 64))
    return Axis(draw(st.integers(1, 400)), chip_px, draw(st.integers(0, (chip_px - 1) // 2)))


@given(axes())
def test_each_pixel_is_owned_by_exactly_one_chip(axis: Axis) -> None:
    ends = [axis.owned(chip) for chip in range(axis.count)]
    assert ends[0][0] == 0
    assert ends[-1][1] == axis.length_px
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert all(start < end for start, end in ends)


@given(axes())
def test_weights_add_up_to_exactly_one_at_every_pixel(axis: Axis) -> None:
    total = np.zeros(axis.length_px, np.float32)
    for chip in range(axis.count):
        start, end = axis.used(chip)
        total[start:end] += axis.weights(chip)
    assert (total == 1).all()


@given(axes())
def test_a_pixel_has_at_most_two_chips_and_they_see_it(axis: Axis) -> None:
    contributors = np.zeros(axis.length_px, int)
    for chip in range(axis.count):
        start, end = axis.used(chip)
        first, after = axis.inside(chip)
        assert first <= start < end <= after
        assert (axis.weights(chip) > 0).all()
        contributors[start:end] += 1
    assert contributors.min() >= 1
    assert contributors.max() <= 2


@given(axes(), st.data())
def test_the_chips_that_touch_a_window_are_those_that_contribute_to_it(
    axis: Axis, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, axis.length_px - 1))
    end = data.draw(st.integers(start + 1, axis.length_px))
    expected = [
        chip
        for chip in range(axis.count)
        if axis.used(chip)[0] < end and axis.used(chip)[1] > start
    ]
    assert list(axis.touching(start, end)) == expected


@given(axes())
def test_a_chip_sees_its_whole_size_and_starts_on_the_grid_of_the_scene(axis: Axis) -> None:
    for chip in range(axis.count):
        start, end = axis.seen(chip)
        assert end - start == axis.chip_px
        assert (start + axis.halo_px) % axis.stride_px == 0


@given(axes())
def test_weights_rise_towards_a_chips_middle(axis: Axis) -> None:
    for chip in range(axis.count):
        weights = axis.weights(chip)
        top = int(weights.argmax())
        assert (np.diff(weights[: top + 1]) >= 0).all()
        assert (np.diff(weights[top:]) <= 0).all()


@pytest.mark.parametrize(("length_px", "chip_px", "halo_px"), [(0, 8, 0), (9, 8, 4), (9, 8, -1)])
def test_chips_without_pixels_of_their_own_are_no_chips(
    length_px: int, chip_px: int, halo_px: int
) -> None:
    with pytest.raises(ValueError, match="of its own"):
        Axis(length_px, chip_px, halo_px)
