"""Chips of a tile: which they are, their pixels, and back from chips to pixels. Pure arithmetic.

The chip grid starts at the scene's upper left corner, so a chip is the same whatever tiles the
scene is cut into. A tile owns the part of each grid cell that lies in it; a cell cut off by the
tile's edge is filled up by mirroring, so that the network sees a whole chip.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.work_raster import NOTHING

Pixels = NDArray[Any]


def chip_windows(tile: Window, chip_px: int) -> tuple[Window, ...]:
    """The cells of the chip grid cut to the tile, row by row. They tile the tile exactly."""
    rows = spans(tile.row_off_px, tile.row_end_px, chip_px)
    cols = spans(tile.col_off_px, tile.col_end_px, chip_px)
    return tuple(
        Window(top, left, bottom - top, right - left)
        for top, bottom in rows
        for left, right in cols
    )


def spans(start_px: int, end_px: int, chip_px: int) -> list[tuple[int, int]]:
    """[start, end) cut at the multiples of chip_px."""
    first = (start_px // chip_px + 1) * chip_px
    edges = [start_px, *range(first, end_px, chip_px), end_px]
    return list(pairwise(edges))


def cut(pixels: Pixels, tile: Window, chip_px: int) -> Pixels:
    """A tile's pixels (bands, height, width) as chips (n, bands, chip_px, chip_px)."""
    padding = margins(tile, chip_px)
    if any(before or after for before, after in padding):
        pixels = np.pad(pixels, ((0, 0), *padding), mode="symmetric")
    bands, height, width = pixels.shape
    rows, cols = height // chip_px, width // chip_px
    cells = pixels.reshape(bands, rows, chip_px, cols, chip_px).transpose(1, 3, 0, 2, 4)
    # Rows of one band stay together: this gather is several times faster than one to channels last.
    return np.ascontiguousarray(cells).reshape(rows * cols, bands, chip_px, chip_px)


def valid_fractions(
    valid: NDArray[np.bool_] | None, tile: Window, chip_px: int
) -> NDArray[np.float64]:
    """Per chip, the share of the pixels it owns that hold data; None: all do."""
    if valid is None:
        return np.ones(cell_rows(tile, chip_px) * cell_columns(tile, chip_px))
    counts = cell_counts(np.pad(valid, margins(tile, chip_px)), chip_px)
    sizes = cell_counts(np.pad(np.ones_like(valid), margins(tile, chip_px)), chip_px)
    return counts / sizes


def cell_counts(mask: NDArray[np.bool_], chip_px: int) -> NDArray[np.int64]:
    """True pixels per cell of a mask whose sides are multiples of chip_px."""
    height, width = mask.shape
    cells = mask.reshape(height // chip_px, chip_px, width // chip_px, chip_px)
    counts: NDArray[np.int64] = cells.sum((1, 3), dtype=np.int64)
    return counts.ravel()


def paint(
    values: NDArray[np.uint8], valid: NDArray[np.bool_] | None, tile: Window, chip_px: int
) -> NDArray[np.uint8]:
    """One value per chip -> one per pixel of the tile; NOTHING where a pixel holds no data. None
    where all pixels do, as in most tiles.
    """
    (top, _), (left, _) = margins(tile, chip_px)
    rows, columns = cell_rows(tile, chip_px), cell_columns(tile, chip_px)
    grown = np.empty((rows, chip_px, columns, chip_px), np.uint8)
    grown[:] = values.reshape(rows, 1, columns, 1)
    pixels = grown.reshape(rows * chip_px, columns * chip_px)
    painted = pixels[top : top + tile.height_px, left : left + tile.width_px]
    return painted if valid is None else np.where(valid, painted, np.uint8(NOTHING))


def margins(tile: Window, chip_px: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels from the tile's sides to the chip grid: ((above, below), (left, right))."""
    return (
        (tile.row_off_px % chip_px, -tile.row_end_px % chip_px),
        (tile.col_off_px % chip_px, -tile.col_end_px % chip_px),
    )


def cell_rows(tile: Window, chip_px: int) -> int:
    """How many rows of chips a tile has."""
    return -(-tile.row_end_px // chip_px) - tile.row_off_px // chip_px


def cell_columns(tile: Window, chip_px: int) -> int:
    """How many columns of chips a tile has."""
    return -(-tile.col_end_px // chip_px) - tile.col_off_px // chip_px
