import math
import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import mapping

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.aoi import validate_aoi
from constellation_pipelines.geo.footprint import window_footprints
from constellation_pipelines.geo.tiling import (
    area_of,
    tile_size_px,
    tile_windows,
    windows_touching,
)
from tests.geo import grids


def stored_in(block_height_px: int, block_width_px: int, side_px: int = 10_980) -> Grid:
    return Grid(
        "EPSG:32633", (10, 0, 0, 0, -10, 0), side_px, side_px, block_width_px, block_height_px
    )


@pytest.mark.parametrize(
    ("block_px", "chip_px", "tile_px"),
    [
        (256, 64, 512),
        (512, 64, 512),
        (1024, 64, 1024),
        (64, 64, 512),
        (192, 64, 576),
        (512, 224, 672),  # no multiple of both up to 2048 px: whole chips only
        (16, 224, 448),
        (4096, 64, 512),
        (333, 64, 512),
        (512, 600, 600),
    ],
)
def test_a_tile_is_near_512_px_and_of_whole_blocks_and_chips(
    block_px: int, chip_px: int, tile_px: int
) -> None:
    assert tile_size_px(stored_in(block_px, block_px), chip_px) == (tile_px, tile_px)


@pytest.mark.parametrize("block_height_px", [1, 3, 64, 512])
def test_strips_do_not_shape_tiles(block_height_px: int) -> None:
    assert tile_size_px(stored_in(block_height_px, 10_980), 64) == (512, 512)


def test_a_file_of_one_small_block_keeps_its_block() -> None:
    assert tile_size_px(stored_in(1024, 1024, side_px=1024), 64) == (1024, 1024)


def test_each_side_follows_its_own_blocks() -> None:
    assert tile_size_px(stored_in(256, 1024), 64) == (512, 1024)


@given(
    height_px=st.integers(1, 3000),
    width_px=st.integers(1, 3000),
    block_height_px=st.integers(1, 1100),
    block_width_px=st.integers(1, 1100),
    chip_px=st.integers(1, 700),
)
@settings(deadline=None, max_examples=60)
def test_each_pixel_lies_in_exactly_one_tile(
    height_px: int, width_px: int, block_height_px: int, block_width_px: int, chip_px: int
) -> None:
    grid = Grid("", (1, 0, 0, 0, -1, 0), width_px, height_px, block_width_px, block_height_px)
    seen = np.zeros((height_px, width_px), dtype=np.uint8)
    windows = tile_windows(grid, chip_px)
    for window in windows:
        assert window.row_end_px <= height_px
        assert window.col_end_px <= width_px
        seen[window.row_off_px : window.row_end_px, window.col_off_px : window.col_end_px] += 1
    assert (seen == 1).all()
    assert windows == sorted(windows)


@given(
    block_height_px=st.integers(1, 5000),
    block_width_px=st.integers(1, 5000),
    chip_px=st.integers(1, 2048),
)
def test_a_tile_is_always_of_whole_chips_and_at_most_2048_px(
    block_height_px: int, block_width_px: int, chip_px: int
) -> None:
    sides = tile_size_px(stored_in(block_height_px, block_width_px), chip_px)
    assert all(side % chip_px == 0 and side <= 2559 for side in sides)
    for side, block_px in zip(sides, (block_height_px, block_width_px), strict=True):
        if block_width_px < 10_980 and math.lcm(block_px, chip_px) <= 2048:
            assert side % block_px == 0
            assert side <= 2048


def test_without_an_aoi_every_window_is_taken() -> None:
    windows = tile_windows(grids.utm(), 64)
    assert windows_touching(grids.utm(), windows, None) == windows


@pytest.mark.parametrize("grid", grids.EVERYWHERE)
def test_an_aoi_that_is_one_tile_touches_that_tile_alone(grid: Grid) -> None:
    windows = tile_windows(grid, 64)
    for window, footprint in zip(windows, window_footprints(grid, windows), strict=True):
        touched = windows_touching(grid, windows, area_of(mapping(footprint)))
        assert touched == [window]


@pytest.mark.parametrize("grid", grids.EVERYWHERE)
def test_the_whole_world_touches_every_tile(grid: Grid) -> None:
    windows = tile_windows(grid, 64)
    world = validate_aoi(mapping(shapely.box(-180, -90, 180, 90)))
    assert windows_touching(grid, windows, area_of(world)) == windows


@pytest.mark.parametrize("grid", [grids.DATELINE_UTM, grids.DATELINE_DEGREES])
def test_an_aoi_beyond_180_finds_both_sides_of_the_line(grid: Grid) -> None:
    windows = tile_windows(grid, 64)
    aoi = validate_aoi(mapping(shapely.box(170, -80, 190, 80)))
    assert windows_touching(grid, windows, area_of(aoi)) == windows


def test_an_aoi_on_one_side_of_180_leaves_out_the_other() -> None:
    grid = grids.DATELINE_DEGREES  # 179.5 E to 179.476 W in columns of 512 px
    east = mapping(shapely.box(-179.9, 9, -179, 10))
    touched = windows_touching(grid, tile_windows(grid, 64), area_of(east))
    assert {window.col_off_px for window in touched} == {512}


def test_an_aoi_round_the_pole_touches_the_tiles_around_it() -> None:
    ring = [[0, -89.9], [120, -89.9], [-120, -89.9], [0, -89.9]]
    aoi = validate_aoi({"type": "Polygon", "coordinates": [ring]})
    windows = tile_windows(grids.ANTARCTIC, 64)
    # It is where the four meet.
    assert windows_touching(grids.ANTARCTIC, windows, area_of(aoi)) == windows


@pytest.mark.parametrize("grid", grids.EVERYWHERE)
def test_an_aoi_elsewhere_touches_nothing(grid: Grid) -> None:
    aoi = mapping(shapely.box(-30, -40, -20, -30))
    assert windows_touching(grid, tile_windows(grid, 64), area_of(aoi)) == []


def test_an_aoi_within_a_tile_or_round_a_hole_is_found() -> None:
    grid = grids.DEGREES
    windows = [Window(0, 0, 512, 512), Window(0, 512, 512, 512)]
    speck = mapping(shapely.box(-76.6901, 34.6899, -76.69, 34.69))
    assert windows_touching(grid, windows, area_of(speck)) == windows[:1]
    around = shapely.box(-77, 34, -76, 35) - shapely.box(-76.71, 34.6, -76.6488, 34.8)
    assert windows_touching(grid, windows, area_of(mapping(around))) == windows[1:]


def test_a_shared_edge_is_no_shared_ground() -> None:
    grid = grids.DEGREES
    left, right = Window(0, 0, 512, 512), Window(0, 512, 512, 512)
    area = area_of(mapping(window_footprints(grid, [right])[0]))
    assert windows_touching(grid, [left], area) == []


def test_ten_thousand_windows_against_a_detailed_aoi_take_under_two_seconds() -> None:
    grid = grids.utm(51_200, 51_200)
    windows = tile_windows(grid, 64)
    circle = shapely.Point(17.0, 43.5).buffer(1.0, quad_segs=10_000)
    began = time.process_time()
    touched = windows_touching(grid, windows, area_of(mapping(circle)))
    assert time.process_time() - began < 2
    assert 0 < len(touched) < len(windows) == 10_000
