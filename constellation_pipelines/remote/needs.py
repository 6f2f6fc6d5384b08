"""Which blocks of a mirror a tile needs."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.remote.mirror import Mirror
from constellation_pipelines.remote.tiff import Numbers, blocks_of

RESAMPLED_PX = 520  # GDAL warps in blocks of up to 512 px, and a kernel looks a little farther


class Needs:
    """Blocks that tiles need; remembered, because it is asked again and again.

    `grid` is the one the tiles are cut from, `own` the raster's own. `halo_px` is what is read
    around a tile. In every way of reading that we have, nothing beyond is read; a block beyond that
    is missing would be an error and no wrong pixel.
    """

    def __init__(self, mirror: Mirror, own: Grid, grid: Grid, halo_px: int) -> None:
        self._mirror = mirror
        self._own = own
        self._grid = grid
        self._margin_px = halo_px if same_place(own, grid) else halo_px + RESAMPLED_PX
        self._known: dict[Window, Numbers] = {}

    def of(self, window: Window) -> Numbers:
        """Block indices of a tile, image and mask."""
        if window not in self._known:
            self._known[window] = self._look_up(window)
        return self._known[window]

    def of_all(self, windows: Iterable[Window]) -> Numbers:
        """Block indices of tiles in the order of the tiles, each once."""
        found = [self.of(window) for window in windows]
        if not found:
            return np.zeros(0, np.int64)
        joined = np.concatenate(found)
        _, first = np.unique(joined, return_index=True)
        return np.asarray(joined[np.sort(first)], np.int64)

    def _look_up(self, window: Window) -> Numbers:
        rows, columns = source_slices(window, self._grid, self._own, self._margin_px)
        found, start = [], 0
        for directory in self._mirror.directories:
            found.append(start + blocks_of(directory, rows, columns))
            start += len(directory.offsets)
        return np.asarray(np.concatenate(found), np.int64)


def source_slices(window: Window, grid: Grid, own: Grid, margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of the raster that hold a window of a grid over the same ground."""
    to_own = np.linalg.solve(matrix(own), matrix(grid))
    rows = (window.row_off_px - margin_px, window.row_end_px + margin_px)
    columns = (window.col_off_px - margin_px, window.col_end_px + margin_px)
    corners = np.array([(column, row, 1.0) for column in columns for row in rows])
    across, down, _ = to_own @ corners.T
    tiny = 1e-6  # of a pixel: what the arithmetic may lose
    return (
        slice(max(0, math.floor(min(down) + tiny)), max(0, math.ceil(max(down) - tiny))),
        slice(max(0, math.floor(min(across) + tiny)), max(0, math.ceil(max(across) - tiny))),
    )


def matrix(grid: Grid) -> NDArray[np.float64]:
    """From column and row of a grid to its map coordinates."""
    return np.array([grid.transform[:3], grid.transform[3:], (0.0, 0.0, 1.0)])


def same_place(own: Grid, grid: Grid) -> bool:
    """Whether tiles are cut from the raster's own pixels."""
    return own.transform == grid.transform
