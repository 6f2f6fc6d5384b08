"""Cutting a grid into tiles."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.footprint import window_footprints

TILE_PX = 512
LARGEST_TILE_PX = 2048


def tile_size_px(grid: Grid, chip_px: int) -> tuple[int, int]:
    """Height and width of the grid's tiles: near 512 px, whole chips and whole blocks of the file.

    Blocks that are strips, or fit no tile of up to 2048 px, are ignored.
    """
    if chip_px < 1:
        raise ValueError(f"a chip of {chip_px} px")
    if grid.block_width_px >= grid.width_px and grid.block_height_px < grid.block_width_px:
        return _tile_side_px(1, chip_px), _tile_side_px(1, chip_px)  # strips
    return _tile_side_px(grid.block_height_px, chip_px), _tile_side_px(grid.block_width_px, chip_px)


def tile_windows(grid: Grid, chip_px: int) -> list[Window]:
    """The grid's tiles, row-major: each pixel in exactly one, clipped at the lower right edges."""
    height_px, width_px = tile_size_px(grid, chip_px)
    return [
        Window(
            row_px,
            col_px,
            min(height_px, grid.height_px - row_px),
            min(width_px, grid.width_px - col_px),
        )
        for row_px in range(0, grid.height_px, height_px)
        for col_px in range(0, grid.width_px, width_px)
    ]


def windows_touching(
    grid: Grid, windows: Sequence[Window], area: shapely.MultiPolygon | None
) -> list[Window]:
    """The windows that share ground with an area of `area_of`, in their order; all without one.

    The comparison is made in lon/lat: a window always has a footprint, while much of the Earth has
    no place in a scene's CRS.
    """
    if area is None:
        return list(windows)
    if not windows:
        return []
    footprints = np.array(window_footprints(grid, windows), dtype=object)
    # A shared edge is no shared ground.
    touched = shapely.intersects(area, footprints)
    touched[touched] = ~shapely.touches(area, footprints[touched])
    return [windows[index] for index in touched.nonzero()[0]]


def area_of(aoi: dict[str, Any] | None) -> shapely.MultiPolygon | None:
    """The ground of a valid GeoJSON Polygon or MultiPolygon in lon/lat, split at 180 degrees.

    Of many vertices it takes tens of milliseconds: make it once for all of a job's scenes.
    """
    if aoi is None:
        return None
    parts = [
        part
        for polygon in dateline.polygons_of(shapely.geometry.shape(aoi))
        for part in dateline.split_at_180(polygon)
    ]
    area = shapely.MultiPolygon(parts)
    shapely.prepare(area)
    return area


def _tile_side_px(block_px: int, chip_px: int) -> int:
    """The multiple of block and chip nearest to 512 px, the larger of two equally near."""
    unit_px = math.lcm(block_px, chip_px)
    if unit_px > LARGEST_TILE_PX:
        return math.ceil(TILE_PX / chip_px) * chip_px
    below_px = TILE_PX // unit_px * unit_px
    above_px = below_px + unit_px
    return below_px if below_px and TILE_PX - below_px < above_px - TILE_PX else above_px
