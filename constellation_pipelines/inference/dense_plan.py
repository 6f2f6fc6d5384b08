"""Which chips a dense model's tiles need, and which parts of the raster those see. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.stitch import Axis
from constellation_pipelines.geo.tiling import tile_size_px

Place = tuple[int, int]  # row and column of a chip
SAMPLE_PX = 4  # of a scene's rows and columns every fourth is sampled, from the first


@dataclass(frozen=True, slots=True)
class CellRow:
    """A row of cells: those to read of it, and the rows of chips that can be cut once they are."""

    cells: list[Window]
    ready: list[int]


class DensePlan:
    """Chips of tiles, shared by neighbours, and the cells to read for them: each once."""

    def __init__(self, grid: Grid, card: ModelCard, windows: Sequence[Window]) -> None:
        self.grid = grid
        self.rows = Axis(grid.height_px, card.chip_px, card.halo_px)
        self.columns = Axis(grid.width_px, card.chip_px, card.halo_px)
        self.windows = tuple(sorted(windows))
        self.cell_px = tile_size_px(grid, 1)  # whole blocks of the file

    @cached_property
    def tiles_of(self) -> dict[Place, list[Window]]:
        """The tiles that wait for each chip, in order. Chips that nobody waits for are left out."""
        found: dict[Place, list[Window]] = {}
        for tile in self.windows:
            for row in self.rows.touching(tile.row_off_px, tile.row_end_px):
                for column in self.columns.touching(tile.col_off_px, tile.col_end_px):
                    found.setdefault((row, column), []).append(tile)
        return found

    @cached_property
    def wanted(self) -> dict[int, list[int]]:
        """The columns of the chips wanted in each row of chips, in order."""
        found: dict[int, list[int]] = {}
        for row, column in sorted(self.tiles_of):
            found.setdefault(row, []).append(column)
        return found

    def owned(self, place: Place) -> Window:
        """The pixels that are final with this chip."""
        return window_of(self.rows.owned(place[0]), self.columns.owned(place[1]))

    def inside(self, place: Place) -> Window:
        """What a chip sees of the grid."""
        return window_of(self.rows.inside(place[0]), self.columns.inside(place[1]))

    def edged(self, place: Place) -> tuple[Window, int, int]:
        """What a chip sees of the grid; how far it reaches beyond that above and to the left."""
        inside = self.inside(place)
        above = inside.row_off_px - self.rows.seen(place[0])[0]
        return inside, above, inside.col_off_px - self.columns.seen(place[1])[0]

    def tiles_near(self, window: Window, margin_px: int) -> tuple[Window, ...]:
        """The tiles that share pixels with a window grown by a margin on each side, in order."""
        top, bottom = window.row_off_px - margin_px, window.row_end_px + margin_px
        left, right = window.col_off_px - margin_px, window.col_end_px + margin_px
        first = bisect_left(self._tops, top - self._tallest_px)
        last = bisect_left(self._tops, bottom)
        return tuple(
            tile
            for tile in self.windows[first:last]
            if tile.col_off_px < right and left < tile.col_end_px and top < tile.row_end_px
        )

    @cached_property
    def _tops(self) -> list[int]:
        return [tile.row_off_px for tile in self.windows]

    @cached_property
    def _tallest_px(self) -> int:
        return max((tile.height_px for tile in self.windows), default=0)

    def strips(self) -> Iterator["CellRow"]:
        """Rows of cells with something to read, top to bottom."""
        height_px = self.cell_px[0]
        waiting = sorted(self.wanted)
        for top in range(0, self.grid.height_px, height_px):
            bottom = min(top + height_px, self.grid.height_px)
            seen = [row for row in waiting if self.rows.inside(row)[0] < bottom]
            ready = [row for row in seen if self.rows.inside(row)[1] <= bottom]
            if seen:
                yield CellRow(self._cells(top, bottom, seen), ready)
            waiting = waiting[len(ready) :]

    def _cells(self, top: int, bottom: int, rows: list[int]) -> list[Window]:
        width_px = self.cell_px[1]
        needed = np.zeros(-(-self.grid.width_px // width_px), np.bool_)
        for row in rows:
            if self.rows.inside(row)[1] <= top:
                continue
            for column in self.wanted[row]:
                start, end = self.columns.inside(column)
                needed[start // width_px : -(-end // width_px)] = True
        return [
            window_of((top, bottom), (left, min(left + width_px, self.grid.width_px)))
            for left in (needed.nonzero()[0] * width_px).tolist()
        ]


def window_of(rows: tuple[int, int], columns: tuple[int, int]) -> Window:
    """A window by its first and last rows and columns; last ones excluded."""
    return Window(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])


def common(one: Window, other: Window) -> Window | None:
    """What two windows share; None where that is nothing."""
    rows = max(one.row_off_px, other.row_off_px), min(one.row_end_px, other.row_end_px)
    columns = max(one.col_off_px, other.col_off_px), min(one.col_end_px, other.col_end_px)
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        return None
    return window_of(rows, columns)


def within(inner: Window, outer: Window) -> tuple[slice, slice]:
    """Rows and columns of a window in an array that begins where another window does."""
    top, left = inner.row_off_px - outer.row_off_px, inner.col_off_px - outer.col_off_px
    return slice(top, top + inner.height_px), slice(left, left + inner.width_px)


def sampled(window: Window) -> tuple[slice, slice]:
    """The sampled rows and columns of an array that is a window's."""
    return (
        slice(-window.row_off_px % SAMPLE_PX, None, SAMPLE_PX),
        slice(-window.col_off_px % SAMPLE_PX, None, SAMPLE_PX),
    )


def samples_within(inner: Window, outer: Window) -> tuple[slice, slice]:
    """The samples of a window among those of another that it lies in."""
    top, left = -(-outer.row_off_px // SAMPLE_PX), -(-outer.col_off_px // SAMPLE_PX)
    rows = -(-inner.row_off_px // SAMPLE_PX) - top, -(-inner.row_end_px // SAMPLE_PX) - top
    columns = -(-inner.col_off_px // SAMPLE_PX) - left, -(-inner.col_end_px // SAMPLE_PX) - left
    return slice(*rows), slice(*columns)
