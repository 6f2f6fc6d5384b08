"""The working rasters of a run: what its engines find, in plain files while they grow.

One file per product, block by block: a block is a tile of the scene, so that a tile is one stretch
of the file and is written at once. Blocks stand row-major, cut off at the grid's edges, and so do
the cells of a block, channels of a cell together. Cells that nobody has written read as `nothing` -
255, or NaN - because the values are stored so that a hole of a sparse file, all zeros, decodes to
it. The files survive a killed process, and a second attempt goes on with them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import EngineFailed, InvalidInput
from constellation_pipelines.domain.model import ModelCard, Task
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.tiling import tile_size_px

NOTHING = 255  # value of class and score where there is none
NAN_BITS = 0x7FC00000  # of a float32


class Product(StrEnum):
    """What a working raster holds, and the stem of its file's name."""

    CLASS = "class"  # class value, uint8
    SCORE = "score"  # probability of the class in per cent, uint8
    VALUE = "value"  # a regression's number, float32
    EMBEDDING = "embedding"  # a vector per chip, float32


@dataclass(frozen=True, slots=True)
class Layout:
    """A product's shape: one cell is `cell_px` pixels square and has `channels` numbers; the sides
    of tiles are multiples of `unit_px`, which is one of `cell_px`.
    """

    product: Product
    dtype: type[np.generic]
    cell_px: int = 1
    channels: int = 1
    unit_px: int = 1

    def shape(self, grid: Grid) -> tuple[int, int, int]:
        """Rows, columns, channels of the file for a grid."""
        rows = -(-grid.height_px // self.cell_px)
        return rows, -(-grid.width_px // self.cell_px), self.channels

    def block(self, grid: Grid) -> tuple[int, int]:
        """Rows and columns of cells of a block, which is a tile of the grid."""
        height_px, width_px = tile_size_px(grid, self.unit_px)
        return height_px // self.cell_px, width_px // self.cell_px

    @property
    def cell_bytes(self) -> int:
        """Length of a cell."""
        return self.channels * np.dtype(self.dtype).itemsize

    def size_bytes(self, grid: Grid) -> int:
        """Length of the file for a grid."""
        rows, columns, _ = self.shape(grid)
        return rows * columns * self.cell_bytes

    def cells(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of the cells that a window covers; it begins where a cell does."""
        if window.row_off_px % self.cell_px or window.col_off_px % self.cell_px:
            raise ValueError(f"{window} does not begin where a cell of {self.cell_px} px does")
        return (
            slice(window.row_off_px // self.cell_px, -(-window.row_end_px // self.cell_px)),
            slice(window.col_off_px // self.cell_px, -(-window.col_end_px // self.cell_px)),
        )


def layouts(card: ModelCard) -> tuple[Layout, ...]:
    """The working rasters of a model."""
    unit_px = card.tile_unit_px
    if card.task is Task.REGRESSION:
        return (Layout(Product.VALUE, np.float32, unit_px=unit_px),)
    if card.task is Task.EMBEDDING:
        return (Layout(Product.EMBEDDING, np.float32, card.chip_px, card.channels, unit_px),)
    classes = Layout(Product.CLASS, np.uint8, unit_px=unit_px)
    scores = Layout(Product.SCORE, np.uint8, unit_px=unit_px)
    return (classes, scores) if card.scores else (classes,)


def path_of(folder: Path, product: Product) -> Path:
    """Where a run's folder of working rasters has this one. Files of other layouts had other
    endings.
    """
    return folder / f"{product}.blocks"


def are_whole(folder: Path, card: ModelCard, grid: Grid) -> bool:
    """Whether every working raster of the model is there, in the size of this grid."""
    return all(
        (path := path_of(folder, one.product)).is_file()
        and path.stat().st_size == one.size_bytes(grid)
        for one in layouts(card)
    )


@dataclass(frozen=True, slots=True)
class Part:
    """What a block shares with a window: `start` is the cell of the file with which its first row
    begins, `stride` the cells from one row to the next, `columns` those of the block that are
    shared, `place` where all of it lies in the window.
    """

    start: int
    stride: int
    columns: slice
    place: tuple[slice, slice]

    @property
    def whole_rows(self) -> bool:
        """Whether it is one stretch of the file."""
        return self.columns == slice(0, self.stride)


class WorkRaster:
    """One working raster, made where it is missing. A context."""

    def __init__(self, folder: Path, layout: Layout, grid: Grid) -> None:
        self.layout = layout
        self._shape = layout.shape(grid)
        self._block = layout.block(grid)
        self._file = os.open(path_of(folder, layout.product), os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._file).st_size not in (0, layout.size_bytes(grid)):
            os.close(self._file)
            raise InvalidInput("the working raster belongs to a scene of another size")
        os.truncate(self._file, layout.size_bytes(grid))

    def __enter__(self) -> "WorkRaster":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, window: Window, values: NDArray[Any]) -> None:
        """Set a window's cells: (rows, columns), with a third axis where there are channels. A
        window that is a tile is one write, any other takes a write for each row of a block.

        Plain writes, not a memory map: on a full disk a map would kill the process, where a write
        fails with an error. Raises EngineFailed.
        """
        rows, columns = self.layout.cells(window)
        stored = flip(np.ascontiguousarray(values, self.layout.dtype))
        try:
            for part in self._parts(rows, columns):
                cells = stored[part.place]
                if part.whole_rows:
                    self._write(np.ascontiguousarray(cells), part.start)
                    continue
                for row, line in enumerate(cells):
                    self._write(line, part.start + row * part.stride + part.columns.start)
        except OSError as error:
            raise EngineFailed(f"the working raster cannot be written: {error.strerror}") from error

    def read(self, window: Window) -> NDArray[Any]:
        """A window's cells (rows, columns, channels). Raises EngineFailed."""
        rows, columns = self.layout.cells(window)
        channels = self._shape[2]
        shape = (rows.stop - rows.start, columns.stop - columns.start, channels)
        found = np.empty(shape, self.layout.dtype)
        for part in self._parts(rows, columns):
            cells = found[part.place]
            if part.whole_rows and cells.flags.c_contiguous:
                self._read(cells, part.start)
                continue
            # Whole rows of the block: less work than to ask for a piece of each.
            held = np.empty((len(cells), part.stride, channels), self.layout.dtype)
            self._read(held, part.start)
            cells[:] = held[:, part.columns]
        return flip(found, found)

    def _parts(self, rows: slice, columns: slice) -> Iterator[Part]:
        """What each block that a window touches shares with it, row-major."""
        height, width, _ = self._shape
        for top, _, row_place in cuts(rows, self._block[0]):
            first = top // self._block[0] * self._block[0]  # row of the block
            deep = min(self._block[0], height - first)
            for left, right, column_place in cuts(columns, self._block[1]):
                begin = left // self._block[1] * self._block[1]
                stride = min(self._block[1], width - begin)
                start = first * width + begin * deep + (top - first) * stride
                shared = slice(left - begin, right - begin)
                yield Part(start, stride, shared, (row_place, column_place))

    def _write(self, cells: NDArray[Any], start: int) -> None:
        rest = cells.data.cast("B")
        place = start * self.layout.cell_bytes
        while rest:  # a disk that is nearly full takes less than it is given, then fails
            written = os.pwrite(self._file, rest, place)
            rest, place = rest[written:], place + written

    def _read(self, cells: NDArray[Any], start: int) -> None:
        rest = cells.data.cast("B")
        place = start * self.layout.cell_bytes
        while rest:
            count = os.preadv(self._file, [rest], place)
            if not count:
                raise EngineFailed("the working raster was cut off; retry the job")
            rest, place = rest[count:], place + count


def cuts(cells: slice, side: int) -> Iterator[tuple[int, int, slice]]:
    """A side of a window cut at the multiples of `side`: first cell and the one after the last,
    and where they lie in the window.
    """
    start = cells.start
    while start < cells.stop:
        end = min((start // side + 1) * side, cells.stop)
        yield start, end, slice(start - cells.start, end - cells.start)
        start = end


def flip(values: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Values as they are stored, or the other way round: what is nothing becomes zeros.

    `out` may be the values themselves.
    """
    if values.dtype == np.uint8:
        classes: NDArray[np.uint8] = np.bitwise_xor(values, np.uint8(NOTHING), out=out)
        return classes
    bits = None if out is None else out.view(np.uint32)
    flipped = np.bitwise_xor(values.view(np.uint32), np.uint32(NAN_BITS), out=bits)
    return flipped.view(np.float32)
