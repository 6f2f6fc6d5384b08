"""The pixels that a row of chips sees, while it is read: a band of the raster that moves down."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import ReadFailed
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.source import Source

# What a chip sees of the grid, and how far it reaches beyond that above and to the left.
Edged = tuple[Window, int, int]


class Canvas:
    """Rows of pixels over the grid's width. What is shared by two reads is kept, not read again.

    Row r lies at r modulo the depth, in memory that is taken once: rows that stay are not moved.
    What holds no data is noted only from the first such pixel on: most scenes have none.
    """

    def __init__(self, bands: int, width_px: int, dtype: Any, step_px: int, chip_px: int) -> None:
        """`step_px` rows are read at once, beginning at a multiple of that; chips reach up to
        `chip_px` rows above them.
        """
        self._depth = step_px * (1 + -(-chip_px // step_px))
        self._pixels: NDArray[Any] = np.empty((bands, self._depth, width_px), dtype)
        self._missing = np.zeros((self._depth, width_px), np.bool_)
        self._whole = True  # nothing was missing yet

    def paint(self, window: Window, source: Source) -> None:
        """Read a window, which lies in one step: the rows that are as far above as the canvas is
        deep go. Raises ReadFailed; the window holds no data then.
        """
        ((rows, _),) = self._stretches(window.row_off_px, window.row_end_px)
        columns = slice(window.col_off_px, window.col_end_px)
        try:
            _, valid = source.read(window, self._pixels[:, rows, columns])
        except ReadFailed:
            self._whole = False
            self._missing[rows, columns] = True
            raise
        if self._whole and valid.all():
            return
        self._whole = False
        np.logical_not(valid, out=self._missing[rows, columns])

    def any_valid(self, window: Window) -> bool:
        """Whether a window, all of which was painted, has pixels that hold data."""
        return self._whole or not all(bool(part.all()) for part in self._missing_parts(window))

    def all_valid(self, window: Window) -> bool:
        """Whether all pixels of a window, all of which was painted, hold data."""
        return self._whole or not any(bool(part.any()) for part in self._missing_parts(window))

    def chips(self, edged: Sequence[Edged], chip_px: int) -> NDArray[Any]:
        """Chips (n, bands, px, px), mirrored where they reach beyond the grid."""
        return self._cut(self._pixels, edged, chip_px)

    def holes(self, edged: Sequence[Edged], chip_px: int) -> NDArray[np.bool_]:
        """The same of which pixels hold data (n, px, px)."""
        missing: NDArray[np.bool_] = self._cut(self._missing[None], edged, chip_px)[:, 0]
        return np.logical_not(missing, out=missing)

    def _cut(self, values: NDArray[Any], edged: Sequence[Edged], chip_px: int) -> NDArray[Any]:
        found = np.empty((len(edged), len(values), chip_px, chip_px), values.dtype)
        for chip, (inside, above, left) in zip(found, edged, strict=True):
            seen = chip[:, above : above + inside.height_px, left : left + inside.width_px]
            columns = slice(inside.col_off_px, inside.col_end_px)
            for rows, place in self._stretches(inside.row_off_px, inside.row_end_px):
                seen[:, place] = values[:, rows, columns]
            mirror(chip, above, left, inside.height_px, inside.width_px)
        return found

    def _missing_parts(self, window: Window) -> Iterator[NDArray[np.bool_]]:
        columns = slice(window.col_off_px, window.col_end_px)
        for rows, _ in self._stretches(window.row_off_px, window.row_end_px):
            yield self._missing[rows, columns]

    def _stretches(self, top: int, bottom: int) -> Iterator[tuple[slice, slice]]:
        """Where rows of the grid lie here, and where among those asked for; two where they go on
        at the front.
        """
        start = top
        while start < bottom:
            first = start % self._depth
            count = min(bottom - start, self._depth - first)
            yield slice(first, first + count), slice(start - top, start - top + count)
            start += count


def mirror(chip: NDArray[Any], above: int, left: int, height: int, width: int) -> None:
    """Fill a chip (bands, px, px) up around the pixels that it has, by mirroring at their edges."""
    fill(chip[:, above : above + height], left, width)
    fill(chip.swapaxes(1, 2), above, height)


def fill(chip: NDArray[Any], first: int, length: int) -> None:
    """The same along the last axis, where the pixels are the `length` from `first` on."""
    after = chip.shape[2] - first - length
    if first > length or after > length:  # mirrored more than once
        around = (np.arange(chip.shape[2]) - first) % (2 * length)
        chip[:] = chip[:, :, first + np.where(around < length, around, 2 * length - 1 - around)]
        return
    if first:
        chip[:, :, :first] = chip[:, :, first : 2 * first][:, :, ::-1]
    if after:
        end = first + length
        chip[:, :, end:] = chip[:, :, end - after : end][:, :, ::-1]
