"""Tiles of a model that answers per pixel: overlapping chips, blended where they meet."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253

from constellation_pipelines.domain.errors import ReadFailed
from constellation_pipelines.domain.model import Task
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.batch import Cut
from constellation_pipelines.inference.canvas import Canvas
from constellation_pipelines.inference.chip_tiles import SPOILT, percent
from constellation_pipelines.inference.dense_plan import (
    DensePlan,
    Place,
    common,
    sampled,
    samples_within,
    within,
)
from constellation_pipelines.inference.mosaic import Mosaic, best, probability
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.piece import Piece
from constellation_pipelines.inference.reader import Began, extent, group_reads
from constellation_pipelines.inference.source import Source
from constellation_pipelines.inference.work_raster import NOTHING, Product, WorkRaster


@dataclass(slots=True)
class DenseTile:
    """A tile while its pixels come in: class values or numbers, and per cent where wanted.

    `left` counts the pixels still to come; NOTHING and NaN stand where there is no data. Memory is
    taken with the first of them.
    """

    window: Window
    values: NDArray[Any] | None = None
    scores: NDArray[np.uint8] | None = None
    left: int = field(init=False)
    valid_px: int = 0
    sampled_px: int = 0  # of the valid ones
    confidence_sum: float = 0.0
    read_ms: float = 0.0
    infer_ms: float = 0.0
    error: str | None = None

    def __post_init__(self) -> None:
        self.left = self.window.height_px * self.window.width_px


@dataclass(frozen=True, slots=True)
class Pixels:
    """Class values or numbers of a window's pixels; the probability of the class of those that are
    sampled; and of all, in per cent, where scores are wanted.
    """

    window: Window
    values: NDArray[Any]
    sample: NDArray[np.float32] | None = None
    scores: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Strip:
    """What the reader tells of a part of a strip. `empty` chips see no data and are not inferred;
    `failed` tiles have a part that cannot be read; `read_ms` are the tiles' shares of the time.
    """

    empty: list[Place]
    failed: dict[Window, str]
    read_ms: dict[Window, float]


class DenseTiles:
    """Reads strips, cuts them into overlapping chips, and blends what comes back into tiles."""

    def __init__(self, network: Network, rasters: dict[Product, WorkRaster], grid: Grid) -> None:
        """`rasters` are the working rasters of the model's products."""
        self._card = network.card
        self._device = network.device
        self._rasters = rasters
        self._grid = grid
        self._regression = self._card.task is Task.REGRESSION
        self._classes = np.array([found.value for found in self._card.classes], np.uint8)
        self._plan = DensePlan(grid, self._card, ())
        self._tiles: dict[Window, DenseTile] = {}
        self._order: deque[Window] = deque()
        self._mosaic: Mosaic | None = None

    # ---- in the reader's thread ----

    def read(
        self,
        source: Source,
        windows: Sequence[Window],
        began: Began,
        spoils: Callable[[Window], bool],
    ) -> Iterator[Piece]:
        """Pieces of these tiles, in the reader's thread. `spoils` makes reads of a tile fail."""
        plan = DensePlan(self._grid, self._card, windows)
        spoilt = {tile: SPOILT for tile in plan.windows if spoils(tile)}
        yield Piece([], [plan, Strip([], spoilt, {})])
        bands, chip_px = len(self._card.bands), self._card.chip_px
        canvas = Canvas(bands, source.dtype, plan.cell_px[0], chip_px)
        for row in plan.strips():
            cells, ready = row.cells, row.ready
            done = 0
            for group in group_reads(cells, source.px_bytes, source.read_bytes):
                whole = extent(group)
                began(plan.tiles_near(whole, chip_px))
                strip = paint(canvas, source, group, plan)
                began(())
                end = self._grid.width_px if group[-1] is cells[-1] else whole.col_end_px
                cuts = self._cut(plan, canvas, strip, ready, (done, end))
                done = end
                yield Piece(cuts, [None, strip])

    def _cut(
        self,
        plan: DensePlan,
        canvas: Canvas,
        strip: Strip,
        rows: list[int],
        columns: tuple[int, int],
    ) -> list[Cut]:
        """The chips of these rows whose last column of pixels was read now."""
        cuts = []
        for row in rows:
            places = [
                (row, column)
                for column in plan.wanted[row]
                if columns[0] < plan.columns.inside(column)[1] <= columns[1]
            ]
            seen = {place: canvas.any_valid(plan.inside(place)) for place in places}
            strip.empty.extend(place for place in places if not seen[place])
            if any(seen.values()):
                cuts.append(self._chips(plan, canvas, [place for place in places if seen[place]]))
        return cuts

    def _chips(self, plan: DensePlan, canvas: Canvas, places: list[Place]) -> Cut:
        whole = all(canvas.all_valid(plan.inside(place)) for place in places)
        pixels = canvas.chips([plan.edged(place) for place in places], self._card.chip_px)
        holes = None
        if not whole:
            holes = canvas.holes([plan.edged(place) for place in places], self._card.chip_px)
        return Cut([pixels], holes, [tuple(plan.tiles_of[place]) for place in places], places)

    # ---- in the run's thread ----

    def begin(self, piece: Piece) -> None:
        """The plan comes first; then, strip by strip, what is known of the tiles."""
        plan, strip = piece.tiles
        if plan is not None:
            self._start(plan)
        for window, error in strip.failed.items():
            self._tiles[window].error = error
        for window, ms in strip.read_ms.items():
            self._tiles[window].read_ms += ms
        for place in strip.empty:
            self._deliver(place, self._plan.owned(place), None, None)

    def settle(self, cut: Cut, start: int, end: int, answer: Tensor, ms_each: float) -> None:
        """The network's answer (n, channels, px, px) for chips [start, end) of a cut."""
        assert self._mosaic is not None, "the plan comes before the first chip"
        for i in range(start, end):
            place: Place = cut.key[i]
            owned = self._plan.owned(place)
            means = self._mosaic.add(*place, answer[i - start])
            valid = self._valid(cut, i, place, owned)
            self._deliver(place, owned, valid, self._found(owned, means))
            for tile in cut.tiles[i]:
                self._tiles[tile].infer_ms += ms_each / len(cut.tiles[i])

    def take_completed(self) -> list[TileResult]:
        """Results of the tiles that are complete, in reading order; their rasters are written."""
        results = []
        while self._order and self._tiles[self._order[0]].left == 0:
            results.append(self._finish(self._tiles.pop(self._order.popleft())))
        return results

    def _start(self, plan: DensePlan) -> None:
        self._plan = plan
        self._order.extend(plan.windows)
        self._tiles = {window: DenseTile(window) for window in plan.windows}
        channels = 1 if self._regression else len(self._classes)
        self._mosaic = Mosaic(plan.rows, plan.columns, channels, self._device)

    def _valid(self, cut: Cut, i: int, place: Place, owned: Window) -> NDArray[np.bool_] | None:
        """Which of the pixels that a chip owns hold data; None where all do."""
        if cut.holes is None:
            return None
        top, left = self._plan.rows.seen(place[0])[0], self._plan.columns.seen(place[1])[0]
        rows = slice(owned.row_off_px - top, owned.row_end_px - top)
        valid: NDArray[np.bool_] = cut.holes[i][
            rows, owned.col_off_px - left : owned.col_end_px - left
        ]
        return valid

    def _found(self, owned: Window, means: Tensor) -> Pixels:
        if self._regression:
            values = means[0].cpu().numpy()
            return Pixels(owned, np.where(np.isfinite(values), values, np.float32(np.nan)))
        values, top = best(means, self._classes)
        rows, columns = sampled(owned)
        sample = probability(means[:, rows, columns], top[rows, columns]).cpu().numpy()
        scores = None
        if Product.SCORE in self._rasters:
            scores = percent(probability(means, top).cpu().numpy())
        return Pixels(owned, values, sample, scores)

    def _deliver(
        self, place: Place, owned: Window, valid: NDArray[np.bool_] | None, found: Pixels | None
    ) -> None:
        """Give the pixels that a chip owns to their tiles; nothing where nothing was found."""
        for window in self._plan.tiles_of[place]:
            shared = common(owned, window)
            if shared is None:
                continue
            tile = self._tiles[window]
            tile.left -= shared.height_px * shared.width_px
            if found is None:
                continue
            kept = None if valid is None else valid[within(shared, owned)]
            self._fill(tile, shared, found, kept)

    def _fill(
        self, tile: DenseTile, shared: Window, found: Pixels, valid: NDArray[np.bool_] | None
    ) -> None:
        """Set the pixels that a tile shares with what was found; `valid` is of those."""
        if tile.values is None:
            self._open(tile)
        assert tile.values is not None
        place, source = within(shared, tile.window), within(shared, found.window)
        kept = np.True_ if valid is None else valid
        np.copyto(tile.values[place], found.values[source], where=kept)
        pixels = shared.height_px * shared.width_px
        tile.valid_px += pixels if valid is None else int(np.count_nonzero(valid))
        if found.scores is not None and tile.scores is not None:
            np.copyto(tile.scores[place], found.scores[source], where=kept)
        if found.sample is not None:
            sample = found.sample[samples_within(shared, found.window)]
            if valid is not None:
                sample = sample[valid[sampled(shared)]]
            tile.sampled_px += sample.size
            tile.confidence_sum += float(sample.sum(dtype=np.float64))

    def _open(self, tile: DenseTile) -> None:
        shape = (tile.window.height_px, tile.window.width_px)
        if self._regression:
            tile.values = np.full(shape, np.nan, np.float32)
        else:
            tile.values = np.full(shape, NOTHING, np.uint8)
        if Product.SCORE in self._rasters:
            tile.scores = np.full(shape, NOTHING, np.uint8)

    def _finish(self, tile: DenseTile) -> TileResult:
        if tile.error is not None:
            return TileResult(tile.window, TileState.FAILED, read_ms=tile.read_ms, error=tile.error)
        if tile.values is None:
            self._open(tile)
        assert tile.values is not None
        product = Product.VALUE if self._regression else Product.CLASS
        self._rasters[product].write(tile.window, tile.values)
        if tile.scores is not None:
            self._rasters[Product.SCORE].write(tile.window, tile.scores)
        return TileResult(
            window=tile.window,
            state=TileState.COMPLETED,
            class_counts={} if self._regression else class_counts(tile.values),
            confidence=tile.confidence_sum / tile.sampled_px if tile.sampled_px else None,
            valid_fraction=tile.valid_px / tile.values.size,
            read_ms=tile.read_ms,
            infer_ms=tile.infer_ms,
            statistics=statistics(tile.values) if self._regression else None,
        )


def paint(canvas: Canvas, source: Source, group: Sequence[Window], plan: DensePlan) -> Strip:
    """Read cells that stand side by side onto the canvas; where that fails, one by one, so that
    only bad ones fail. Those hold no data.
    """
    began = time.perf_counter()
    whole, failed = extent(group), {}
    try:
        canvas.paint(whole, source)
    except ReadFailed:
        for cell in group:
            try:
                canvas.paint(cell, source)
            except ReadFailed as error:
                failed.update(dict.fromkeys(plan.tiles_near(cell, 0), error.message))
    owners = plan.tiles_near(whole, 0)
    share_ms = 1000 * (time.perf_counter() - began) / max(len(owners), 1)
    return Strip([], failed, dict.fromkeys(owners, share_ms))


def class_counts(values: NDArray[np.uint8]) -> dict[int, int]:
    """Pixels by class value."""
    # Torch counts bytes as they are, where numpy makes 64-bit numbers of them: a third of the time.
    counts = torch.bincount(torch.from_numpy(values).view(-1), minlength=NOTHING + 1).tolist()
    return {value: count for value, count in enumerate(counts[:NOTHING]) if count}


def statistics(values: NDArray[np.float32]) -> dict[str, float] | None:
    """Of the numbers among these; None where there is none."""
    numbers = values[np.isfinite(values)].astype(np.float64)
    if not len(numbers):
        return None
    return {
        "min": float(numbers.min()),
        "max": float(numbers.max()),
        "mean": float(numbers.mean()),
        "std": float(numbers.std()),
    }
