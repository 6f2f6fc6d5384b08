"""The ground of some tiles is what they cover, no more and no less."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.footprint import grid_footprint, window_footprints
from constellation_pipelines.geo.ground import ground_of, merged
from constellation_pipelines.geo.tiling import tile_windows
from tests.geo.test_everywhere import HARD

SIDE_PX = 8
GRID = Grid("", (1, 0, 0, 0, -1, 0), SIDE_PX * 4, SIDE_PX * 4 - 3, 4, 4)


@given(chosen=st.sets(st.integers(0, SIDE_PX * SIDE_PX - 1)))
def test_merged_windows_hold_the_same_pixels_once_each(chosen: set[int]) -> None:
    some = [w for at, w in enumerate(every()) if at in chosen]
    found = merged(some)
    assert (painted(found) == painted(some)).all()
    assert len(found) <= len(some)


def every() -> list[Window]:
    return [
        Window(row, col, min(4, GRID.height_px - row), 4)
        for row in range(0, GRID.height_px, 4)
        for col in range(0, GRID.width_px, 4)
    ]


def painted(windows: list[Window]) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    pixels = np.zeros((GRID.height_px, GRID.width_px), np.uint8)
    for window in windows:
        pixels[window.row_off_px : window.row_end_px, window.col_off_px : window.col_end_px] += 1
    return pixels


def test_a_whole_grid_is_one_window() -> None:
    assert merged(every()) == [Window(0, 0, GRID.height_px, GRID.width_px)]


@pytest.mark.parametrize("name", HARD)
def test_the_ground_of_all_tiles_is_the_scenes(name: str) -> None:
    """Poles, 180 degrees, rotation: as good as the scene's own footprint is."""
    grid = HARD[name]
    whole = grid_footprint(grid)
    ground = ground_of(grid, tile_windows(grid, 64))
    assert ground.is_valid
    assert shapely.symmetric_difference(ground, whole).area < 0.02 * whole.area


def test_the_ground_of_some_tiles_is_theirs() -> None:
    grid = Grid("EPSG:32633", (10, 0, 5e5, 0, -10, 5e6), 2048, 2048, 512, 512)
    windows = [w for at, w in enumerate(tile_windows(grid, 64)) if at in (0, 1, 4, 15)]
    tiles = shapely.union_all(window_footprints(grid, windows))
    ground = ground_of(grid, windows)
    assert len(ground.geoms) == 2
    assert shapely.symmetric_difference(ground, tiles).area < 1e-4 * tiles.area
