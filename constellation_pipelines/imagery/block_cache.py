"""How many decoded blocks GDAL keeps: one figure for the process, the sum of what is asked for.

A raster that is read in whole blocks needs none, and is read a fifth faster without: its blocks go
through the same memory again and again, which stays in the core's own cache. One in strips, or in
blocks that tiles cut through, is decoded many times without.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window

LEAST_BYTES = 1 << 16  # less than most blocks: one is used for the next
MOST_BYTES = 192 << 20
BESIDE_BYTES = 512  # what GDAL counts a band's block for beside its pixels, and some more
# The driver of JPEG2000 decodes all bands of a block for each of them that is not kept.
OF_ONE_READ_BYTES = 48 << 20
OPTION = "GDAL_CACHEMAX"  # as a number in bytes, where GDAL's own setting takes megabytes

_lock = threading.Lock()
_asked: list[int] = []
_before: list[int] = []  # the process's own limit while others are in force


@contextmanager
def block_cache(needed_bytes: int) -> Iterator[None]:
    """Room for so many bytes of decoded blocks, beside what others have asked for, up to
    MOST_BYTES in all.
    """
    with _lock:
        if not _asked:
            _before[:] = [limit()]
        _asked.append(needed_bytes)
        _set()
    try:
        yield
    finally:
        with _lock:
            _asked.remove(needed_bytes)
            _set()


def limit() -> int:
    """What GDAL keeps at most now, in bytes."""
    from rasterio.env import get_gdal_config

    return int(get_gdal_config(OPTION))


def _set() -> None:
    from rasterio.env import set_gdal_config

    wanted = min(max(sum(_asked), LEAST_BYTES), MOST_BYTES) if _asked else _before[0]
    set_gdal_config(OPTION, wanted)


def needed_bytes(raster: Any, grid: Grid, windows: Iterable[Window]) -> int:
    """What reading these windows of a grid, row by row, needs so that each block of an open raster
    is decoded once. The raster covers the grid's ground, maybe in other pixels.
    """
    wanted = list(windows)
    same = raster.shape == (grid.height_px, grid.width_px)
    if not wanted or (same and all(in_whole_blocks(raster, one) for one in wanted)):
        return 0 if raster.driver == "GTiff" else OF_ONE_READ_BYTES
    block_height, block_width = raster.block_shapes[0]
    rows = max(one.height_px for one in wanted) / grid.height_px * raster.height
    left = min(one.col_off_px for one in wanted) / grid.width_px * raster.width
    right = max(one.col_end_px for one in wanted) / grid.width_px * raster.width
    height = in_blocks(rows, block_height)
    width = min(in_blocks(right - left, block_width), raster.width)
    pixels = height * width * sum(np.dtype(name).itemsize for name in raster.dtypes)
    blocks = height // block_height * -(-width // block_width) * raster.count
    return int(pixels + blocks * BESIDE_BYTES)


def in_blocks(length_px: float, block_px: int) -> int:
    """What the blocks are long together that so many pixels lie in, wherever they begin."""
    return -(-(math.ceil(length_px) + block_px - 1) // block_px) * block_px


def in_whole_blocks(raster: Any, window: Window) -> bool:
    """Whether a window shares no block of a raster with what lies beside it."""
    height, width = raster.block_shapes[0]
    begins = window.row_off_px % height == 0 and window.col_off_px % width == 0
    down = window.row_end_px % height == 0 or window.row_end_px == raster.height
    across = window.col_end_px % width == 0 or window.col_end_px == raster.width
    return bool(begins and down and across)
