"""The pixels that a row of chips sees, while it is read: a band of the raster that moves down."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window

# What a chip sees of the grid, and how far it reaches beyond that above and to the left.
Edged = tuple[Window, int, int]


class Canvas:
    """Rows of pixels over the grid's width. What is shared by two reads is kept, not read again."""

    def __init__(self, bands: int, width_px: int, dtype: Any) -> None:
        self._pixels: NDArray[Any] = np.empty((bands, 0, width_px), dtype)
        self._valid: NDArray[np.bool_] = np.empty((0, width_px), np.bool_)
        self._top = 0

    def move(self, top: int, bottom: int) -> None:
        """Hold the rows [top, bottom) from now on; rows that were held before keep their pixels."""
        height = bottom - top
        kept = slice(max(top - self._top, 0), max(self._valid.shape[0], 0))
        pixels, valid = self._pixels[:, kept], self._valid[kept]
        bands, _, width = self._pixels.shape
        self._pixels = np.zeros((bands, height, width), self._pixels.dtype)
        self._valid = np.zeros((height, width), np.bool_)
        self._pixels[:, : pixels.shape[1]] = pixels
        self._valid[: len(valid)] = valid
        self._top = top

    def paint(self, window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Set a window's pixels (bands, height, width) and which of them hold data."""
        rows, columns = self._place(window)
        self._pixels[:, rows, columns] = pixels
        self._valid[rows, columns] = valid

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels of a window hold data; a view."""
        return self._valid[self._place(window)]

    def chips(self, edged: Sequence[Edged], chip_px: int) -> NDArray[Any]:
        """Chips (n, bands, px, px), mirrored where they reach beyond the grid."""
        found = np.empty((len(edged), len(self._pixels), chip_px, chip_px), self._pixels.dtype)
        for chip, (inside, above, left) in zip(found, edged, strict=True):
            rows, columns = self._place(inside)
            chip[:] = mirrored(self._pixels[:, rows, columns], above, left, chip_px)
        return found

    def holes(self, edged: Sequence[Edged], chip_px: int) -> NDArray[np.bool_]:
        """The same of which pixels hold data (n, px, px)."""
        found = np.empty((len(edged), chip_px, chip_px), np.bool_)
        for chip, (inside, above, left) in zip(found, edged, strict=True):
            chip[:] = mirrored(self.valid(inside)[None], above, left, chip_px)[0]
        return found

    def _place(self, window: Window) -> tuple[slice, slice]:
        top = window.row_off_px - self._top
        return slice(top, top + window.height_px), slice(window.col_off_px, window.col_end_px)


def mirrored(values: NDArray[Any], above: int, left: int, chip_px: int) -> NDArray[Any]:
    """Values (bands, height, width) filled up to a chip by mirroring at their edges."""
    _, height, width = values.shape
    below, right = chip_px - above - height, chip_px - left - width
    if not (above or left or below or right):
        return values
    return np.pad(values, ((0, 0), (above, below), (left, right)), mode="symmetric")
