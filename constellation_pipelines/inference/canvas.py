"""The pixels that a row of chips sees, while it is read: a band of the raster that moves down."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.source import Source

# What a chip sees of the grid, and how far it reaches beyond that above and to the left.
Edged = tuple[Window, int, int]


class Canvas:
    """Rows of pixels over the grid's width. What is shared by two reads is kept, not read again.

    Row r lies at r modulo the depth, in memory that is taken once: rows that stay are not moved.
    """

    def __init__(self, bands: int, width_px: int, dtype: Any, step_px: int, chip_px: int) -> None:
        """`step_px` rows are read at once, beginning at a multiple of that; chips reach up to
        `chip_px` rows above them.
        """
        self._depth = step_px * (1 + -(-chip_px // step_px))
        self._pixels: NDArray[Any] = np.empty((bands, self._depth, width_px), dtype)
        self._valid = np.zeros((self._depth, width_px), np.bool_)
        self._bottom = 0

    def move(self, top: int, bottom: int) -> None:
        """Hold the rows [top, bottom) from now on; rows that were held before keep their pixels."""
        for rows, _ in self._stretches(max(self._bottom, top), bottom):
            self._valid[rows] = False
        self._bottom = bottom

    def paint(self, window: Window, source: Source) -> None:
        """Read a window, which lies in one step. Raises ReadFailed; it holds no data then."""
        ((rows, _),) = self._stretches(window.row_off_px, window.row_end_px)
        columns = slice(window.col_off_px, window.col_end_px)
        _, self._valid[rows, columns] = source.read(window, self._pixels[:, rows, columns])

    def any_valid(self, window: Window) -> bool:
        """Whether a window has pixels that hold data."""
        if self._valid[window.row_off_px % self._depth, window.col_off_px]:
            return True
        return any(bool(part.any()) for part in self._valid_parts(window))

    def all_valid(self, window: Window) -> bool:
        """Whether all pixels of a window hold data."""
        return all(bool(part.all()) for part in self._valid_parts(window))

    def chips(self, edged: Sequence[Edged], chip_px: int) -> NDArray[Any]:
        """Chips (n, bands, px, px), mirrored where they reach beyond the grid."""
        return self._cut(self._pixels, edged, chip_px)

    def holes(self, edged: Sequence[Edged], chip_px: int) -> NDArray[np.bool_]:
        """The same of which pixels hold data (n, px, px)."""
        return self._cut(self._valid[None], edged, chip_px)[:, 0]

    def _cut(self, values: NDArray[Any], edged: Sequence[Edged], chip_px: int) -> NDArray[Any]:
        found = np.empty((len(edged), len(values), chip_px, chip_px), values.dtype)
        for chip, (inside, above, left) in zip(found, edged, strict=True):
            seen = chip[:, above : above + inside.height_px, left : left + inside.width_px]
            columns = slice(inside.col_off_px, inside.col_end_px)
            for rows, place in self._stretches(inside.row_off_px, inside.row_end_px):
                seen[:, place] = values[:, rows, columns]
            mirror(chip, above, left, inside.height_px, inside.width_px)
        return found

    def _valid_parts(self, window: Window) -> Iterator[NDArray[np.bool_]]:
        columns = slice(window.col_off_px, window.col_end_px)
        for rows, _ in self._stretches(window.row_off_px, window.row_end_px):
            yield self._valid[rows, columns]

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
    _, side, _ = chip.shape
    rows = slice(above, above + height)
    for outside in (slice(0, left), slice(left + width, side)):
        if outside.start < outside.stop:
            chip[:, rows, outside] = chip[:, rows, left + folded(outside, left, width)]
    for outside in (slice(0, above), slice(above + height, side)):
        if outside.start < outside.stop:
            chip[:, outside] = chip[:, above + folded(outside, above, height)]


def folded(outside: slice, first: int, length: int) -> NDArray[np.intp]:
    """Which of `length` pixels from `first` on stand for those outside: mirrored, as often as it
    takes.
    """
    around = (np.arange(outside.start, outside.stop) - first) % (2 * length)
    return np.where(around < length, around, 2 * length - 1 - around)
