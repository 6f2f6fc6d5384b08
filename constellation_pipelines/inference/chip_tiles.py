"""Tiles of a model that answers once per chip: a class, or a vector."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253 - only the engine imports this module

from constellation_pipelines.domain.model import ModelCard, Task
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.batch import Cut
from constellation_pipelines.inference.chips import cell_rows, cut, paint, valid_fractions
from constellation_pipelines.inference.piece import Piece
from constellation_pipelines.inference.reader import Began, Tile, read_tiles
from constellation_pipelines.inference.source import Source
from constellation_pipelines.inference.views import chosen, rows_of_chips
from constellation_pipelines.inference.work_raster import NOTHING, Product, WorkRaster

LEAST_VALID_FRACTION = 0.5  # a chip with less data than this is not inferred


@dataclass(slots=True)
class ChipTile:
    """A tile and what the network finds in it.

    `valid` says which of its pixels hold data, None: all. `wanted` says which of its chips, in grid
    order, are worth inferring; `answers` are one row for each of those: class value and
    probability, or a vector. `left` counts those still to be inferred.
    """

    window: Window
    valid: NDArray[np.bool_] | None
    read_ms: float
    wanted: NDArray[np.bool_]
    classes: NDArray[np.uint8]
    answers: NDArray[np.float32]
    left: int
    error: str | None = None
    infer_ms: float = 0.0


class ChipTiles:
    """Reads tiles, cuts them into chips, and sums up what comes back, tile by tile."""

    def __init__(self, card: ModelCard, rasters: dict[Product, WorkRaster]) -> None:
        """`rasters` are the working rasters of the model's products."""
        self._card = card
        self._rasters = rasters
        self._values = np.array([found.value for found in card.classes], np.uint8)
        self._tiles: deque[ChipTile] = deque()

    def read(
        self,
        source: Source,
        windows: Sequence[Window],
        began: Began,
        spoils: Callable[[Window], bool],
    ) -> Iterator[Piece]:
        """Pieces of these tiles, in the reader's thread. `spoils` makes reads of a tile fail."""
        width = self._card.channels if self._card.task is Task.EMBEDDING else 1
        for tiles in read_tiles(source, windows, began):
            done = [select(spoilt(tile, spoils), self._card.chip_px, width) for tile in tiles]
            cuts = [found for _, found in done if found is not None]
            yield Piece(cuts, [tile for tile, _ in done])

    def begin(self, piece: Piece) -> None:
        """These tiles are the next to complete."""
        self._tiles.extend(piece.tiles)

    def settle(self, cut: Cut, start: int, end: int, answer: Tensor, ms_each: float) -> None:
        """The network's answer (n, channels) for chips [start, end) of a cut."""
        tile: ChipTile = cut.key
        if self._card.task is Task.EMBEDDING:
            tile.answers[start:end] = answer.cpu().numpy()
        else:
            index, probability = best(answer.cpu().numpy())
            tile.classes[start:end] = self._values[index]
            tile.answers[start:end, 0] = probability
        tile.infer_ms += ms_each * (end - start)
        tile.left -= end - start

    def take_completed(self) -> list[TileResult]:
        """Results of the tiles that are complete, in reading order; their rasters are written."""
        results = []
        while self._tiles and self._tiles[0].left == 0:
            results.append(self._finish(self._tiles.popleft()))
        return results

    def _finish(self, tile: ChipTile) -> TileResult:
        if tile.error is not None:
            return TileResult(tile.window, TileState.FAILED, read_ms=tile.read_ms, error=tile.error)
        if self._card.task is Task.EMBEDDING:
            self._write_vectors(tile)
            return self._result(tile, {}, None)
        self._write_classes(tile)
        counts = np.bincount(tile.classes).tolist()
        found = {value: count for value, count in enumerate(counts) if count}
        return self._result(tile, found, float(tile.answers.mean()) if found else None)

    def _result(
        self, tile: ChipTile, counts: dict[int, int], confidence: float | None
    ) -> TileResult:
        return TileResult(
            window=tile.window,
            state=TileState.COMPLETED,
            class_counts=counts,
            confidence=confidence,
            valid_fraction=1.0 if tile.valid is None else share(tile.valid),
            read_ms=tile.read_ms,
            infer_ms=tile.infer_ms,
        )

    def _write_classes(self, tile: ChipTile) -> None:
        self._paint(Product.CLASS, tile, tile.classes)
        if Product.SCORE in self._rasters:
            self._paint(Product.SCORE, tile, percent(tile.answers[:, 0]))

    def _paint(self, product: Product, tile: ChipTile, found: NDArray[np.uint8]) -> None:
        per_chip = np.full(len(tile.wanted), NOTHING, np.uint8)
        per_chip[tile.wanted] = found
        painted = paint(per_chip, tile.valid, tile.window, self._card.chip_px)
        self._rasters[product].write(tile.window, painted)

    def _write_vectors(self, tile: ChipTile) -> None:
        vectors = np.full((len(tile.wanted), tile.answers.shape[1]), np.nan, np.float32)
        vectors[tile.wanted] = tile.answers
        rows = cell_rows(tile.window, self._card.chip_px)
        raster = self._rasters[Product.EMBEDDING]
        raster.write(tile.window, vectors.reshape(rows, -1, vectors.shape[1]))


def select(tile: Tile, chip_px: int, channels: int) -> tuple[ChipTile, Cut | None]:
    """Cut a tile into chips and keep those with enough data; an unreadable tile has none."""
    if tile.pixels is None or tile.valid is None:
        return chip_tile(tile, None, np.zeros(0, np.bool_), channels), None
    valid = None if tile.valid.all() else tile.valid  # looked at once
    fractions = valid_fractions(valid, tile.window, chip_px)
    wanted = fractions >= LEAST_VALID_FRACTION
    made = chip_tile(tile, valid, wanted, channels)
    if not made.left:
        return made, None
    rows = chosen(rows_of_chips(tile.pixels, tile.window, chip_px), wanted)
    whole = fractions[wanted].min() == 1
    holes = None if whole else cut(tile.valid[None], tile.window, chip_px)[wanted, 0]
    return made, Cut(rows, holes, [(tile.window,)] * made.left, made)


def chip_tile(
    tile: Tile, valid: NDArray[np.bool_] | None, wanted: NDArray[np.bool_], channels: int
) -> ChipTile:
    """A tile of which nothing is inferred yet."""
    count = int(wanted.sum())
    return ChipTile(
        window=tile.window,
        valid=valid,
        read_ms=tile.read_ms,
        wanted=wanted,
        classes=np.empty(count, np.uint8),
        answers=np.empty((count, channels), np.float32),
        left=count,
        error=tile.error,
    )


def spoilt(tile: Tile, spoils: Callable[[Window], bool]) -> Tile:
    """The tile, or a failed one where a simulation wants it so."""
    if tile.pixels is None or not spoils(tile.window):
        return tile
    return Tile(tile.window, None, None, tile.read_ms, SPOILT)


def best(logits: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Logits (n, classes) -> index of the best class, its probability: 0 where a network failed."""
    index, top = logits.argmax(1), logits.max(1)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        probability = 1 / np.exp(logits - top[:, None]).sum(1)
    probability[np.isnan(probability)] = 0
    return index, probability


SPOILT = "simulated: the tile cannot be read"


def share(valid: NDArray[np.bool_]) -> float:
    """Of the pixels, those that hold data."""
    return np.count_nonzero(valid) / valid.size


def percent(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities as whole per cent."""
    return np.rint(probabilities * 100).astype(np.uint8)
