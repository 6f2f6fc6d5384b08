"""The working rasters of a run: what its engines find, in plain files while they grow.

One file per product, row by row, channels of a cell together. Cells that nobody has written read as
`nothing` - 255, or NaN - because the values are stored so that a hole of a sparse file, all zeros,
decodes to it. The files survive a killed process, and a second attempt goes on with them.
"""

import os
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
    """A product's shape: one cell is `cell_px` pixels square and has `channels` numbers."""

    product: Product
    dtype: type[np.generic]
    cell_px: int = 1
    channels: int = 1

    def shape(self, grid: Grid) -> tuple[int, int, int]:
        """Rows, columns, channels of the file for a grid."""
        rows = -(-grid.height_px // self.cell_px)
        return rows, -(-grid.width_px // self.cell_px), self.channels

    def size_bytes(self, grid: Grid) -> int:
        """Length of the file for a grid."""
        return int(np.prod(self.shape(grid))) * np.dtype(self.dtype).itemsize

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
    if card.task is Task.REGRESSION:
        return (Layout(Product.VALUE, np.float32),)
    if card.task is Task.EMBEDDING:
        return (Layout(Product.EMBEDDING, np.float32, card.chip_px, card.channels),)
    classes = Layout(Product.CLASS, np.uint8)
    return (classes, Layout(Product.SCORE, np.uint8)) if card.scores else (classes,)


def path_of(folder: Path, product: Product) -> Path:
    """Where a run's folder of working rasters has this one."""
    return folder / f"{product}.raw"


def are_whole(folder: Path, card: ModelCard, grid: Grid) -> bool:
    """Whether every working raster of the model is there, in the size of this grid."""
    return all(
        (path := path_of(folder, one.product)).is_file()
        and path.stat().st_size == one.size_bytes(grid)
        for one in layouts(card)
    )


class WorkRaster:
    """One working raster, made where it is missing. A context."""

    def __init__(self, folder: Path, layout: Layout, grid: Grid) -> None:
        self.layout = layout
        self._shape = layout.shape(grid)
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
        """Set a window's cells: (rows, columns), with a third axis where there are channels.

        Plain writes, not a memory map: on a full disk a map would kill the process, where a write
        fails with an error. Raises EngineFailed.
        """
        rows, columns = self.layout.cells(window)
        stored = flip(np.ascontiguousarray(values, self.layout.dtype))
        try:
            for row, line in enumerate(stored, rows.start):
                os.pwrite(self._file, line.data, self._offset(row, columns.start))
        except OSError as error:
            raise EngineFailed(f"the working raster cannot be written: {error.strerror}") from error

    def read(self, window: Window) -> NDArray[Any]:
        """A window's cells (rows, columns, channels)."""
        rows, columns = self.layout.cells(window)
        dtype, (_, _, channels) = np.dtype(self.layout.dtype), self._shape
        count, width = rows.stop - rows.start, columns.stop - columns.start
        length = width * channels * dtype.itemsize
        if width == self._shape[1]:  # whole rows lie one after the other
            found = os.pread(self._file, count * length, self._offset(rows.start, 0))
        else:
            places = (self._offset(row, columns.start) for row in range(rows.start, rows.stop))
            found = b"".join(os.pread(self._file, length, place) for place in places)
        return flip(np.frombuffer(found, dtype).reshape(count, width, channels))

    def _offset(self, row: int, column: int) -> int:
        cell = row * self._shape[1] + column
        return cell * self._shape[2] * np.dtype(self.layout.dtype).itemsize


def flip(values: NDArray[Any]) -> NDArray[Any]:
    """Values as they are stored, or the other way round: what is nothing becomes zeros."""
    if values.dtype == np.uint8:
        return values ^ np.uint8(NOTHING)
    return (values.view(np.uint32) ^ np.uint32(NAN_BITS)).view(np.float32)
