"""From the grid that a model worked on back to the scene's own: arithmetic."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.inference.regrid import regridded

Rows = Callable[[int, int], NDArray[Any]]


def grid(size_px: tuple[int, int], pixel: float, turn: tuple[float, float] = (1, 0)) -> Grid:
    cos, sin = turn
    transform = (pixel * cos, pixel * sin, 5e5, pixel * sin, -pixel * cos, 5e6)
    return Grid("EPSG:32633", transform, size_px[1], size_px[0], 512, 512)


def of(values: NDArray[Any]) -> Rows:
    def read(top: int, height_px: int) -> NDArray[Any]:
        assert 0 <= top < top + height_px <= len(values)
        return values[top : top + height_px]

    return read


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.randoms())
def test_whole_multiples_repeat_each_pixel(rows: int, columns: int, times: int, dice: Any) -> None:
    values = np.random.default_rng(dice.randrange(1000)).integers(0, 255, (rows, columns))
    values = values.astype(np.uint8)
    worked, scene = grid((rows, columns), 10.0 * times), grid((rows * times, columns * times), 10)
    read = regridded(of(values), worked, scene, smooth=False)
    whole = read(0, rows * times)
    assert (whole == values.repeat(times, axis=0).repeat(times, axis=1)).all()
    cut = dice.randrange(rows * times)
    parts = [read(0, cut)] if cut else []
    assert (np.concatenate([*parts, read(cut, rows * times - cut)]) == whole).all()


@pytest.mark.parametrize("turn", [(1, 0), (0.8, 0.6), (0, 1)])
@pytest.mark.parametrize(("pixel", "size"), [(10, (90, 70)), (7, (128, 100)), (200, (5, 4))])
def test_a_plane_stays_a_plane(
    turn: tuple[float, float], pixel: float, size: tuple[int, int]
) -> None:
    """Bilinear is exact for values that are linear in place, a pixel in from the edges."""
    worked, scene = grid((45, 35), 20, turn), grid(size, pixel, turn)
    row, column = np.mgrid[0:45, 0:35] + 0.5
    values = (3 * row * 20 + 2 * column * 20).astype(np.float32)
    found = regridded(of(values), worked, scene, smooth=True)(0, size[0])
    row, column = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    expected = 3 * row * pixel + 2 * column * pixel
    edge = int(np.ceil(20 / pixel))
    inner = (slice(edge, size[0] - edge), slice(edge, size[1] - edge))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-5)


def test_a_hole_keeps_its_size_and_lends_no_value() -> None:
    values = np.full((10, 10), 7, np.float32)
    values[3:5, 4:8] = np.nan
    found = regridded(of(values), grid((10, 10), 20), grid((20, 20), 10), smooth=True)(0, 20)
    hole = np.isnan(values).repeat(2, axis=0).repeat(2, axis=1)
    assert (np.isnan(found) == hole).all()
    assert (found[~hole] == 7).all()


def test_no_more_rows_are_held_than_a_bounded_number() -> None:
    asked: list[int] = []

    def read(top: int, height_px: int) -> NDArray[Any]:
        asked.append(height_px)
        return np.zeros((height_px, 2), np.uint8)

    worked, scene = grid((100_000, 2), 1), grid((100, 2), 1000)
    regridded(read, worked, scene, smooth=False)(0, 100)
    assert max(asked) <= 1100


def test_the_last_pixel_of_a_grid_that_ends_beyond_the_scene_is_cut() -> None:
    worked, scene = grid((4, 4), 30), grid((10, 10), 10)
    values = np.arange(16, dtype=np.uint8).reshape(4, 4)
    found = regridded(of(values), worked, scene, smooth=False)(0, 10)
    assert found[9].tolist() == [12, 12, 12, 13, 13, 13, 14, 14, 14, 15]
