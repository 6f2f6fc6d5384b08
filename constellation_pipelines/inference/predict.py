"""Tiles of a scene through a network: read, cut, infer, paint."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.chips import cut, paint, valid_fractions
from constellation_pipelines.inference.computing import Computing
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.inference.reader import Reader, ReadOrder, Tile
from constellation_pipelines.inference.work_raster import (
    NOTHING,
    Layout,
    Product,
    WorkRaster,
)

LEAST_VALID_FRACTION = 0.5  # a chip with less data than this is not inferred
SMALLEST_BATCH = 8


class Cancelled(Exception):
    """Nobody wants the rest of this prediction any more."""


class Listener(Protocol):
    """Hears what happens between two results. Called from the reader's thread too."""

    def reading(self, windows: Iterable[Window]) -> None:
        """These tiles are being read from now on; () when none is."""

    def computing(self, windows: Iterable[Window]) -> None:
        """Chips of these tiles are on the device; () once they are off it."""

    def halved(self, refused: int, batch: int) -> None:
        """A batch of `refused` chips had no room on the device; `batch` is tried from now on."""


class Nobody:
    """Listens to nothing."""

    def reading(self, windows: Iterable[Window]) -> None:
        """Ignored."""

    def computing(self, windows: Iterable[Window]) -> None:
        """Ignored."""

    def halved(self, refused: int, batch: int) -> None:
        """Ignored."""


@dataclass(slots=True)
class Chips:
    """A tile's chips that are worth inferring, and what the network finds in them.

    `wanted` says which of the tile's chips, in grid order, these are; `holes` has their valid
    pixels (n, px, px), or is None where all are. `left` counts those still to be inferred.
    """

    window: Window
    valid: NDArray[np.bool_]
    read_ms: float
    wanted: NDArray[np.bool_]
    pixels: NDArray[Any]
    holes: NDArray[np.bool_] | None
    classes: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    left: int
    error: str | None = None
    infer_ms: float = 0.0


def predict(
    order: PredictOrder,
    network: Network,
    *,
    cancelled: Callable[[], bool],
    device: Computing | None = None,
    listener: Listener | None = None,
) -> Iterator[TileResult]:
    """Each tile's result, in reading order; its classes are in the working raster by then.

    A tile that cannot be read yields a failed result. `cancelled` is asked before each batch, and
    once it says yes, Cancelled is raised. Raises what opening the raster raises, DeviceLost, and
    torch.OutOfMemoryError where the device has no room for a single chip.
    """
    check(order, network.card)
    device, listener = device or Computing(network.device), listener or Nobody()
    numbers = tuple(band.index for band in order.bands)
    shape_px = (order.grid.height_px, order.grid.width_px)
    to_read = ReadOrder(Path(order.uri), shape_px, numbers, order.nodata, order.windows)
    normaliser = Normaliser(network.card, order.bands, network.device)
    work = Path(order.work)
    work.mkdir(parents=True, exist_ok=True)
    with (
        WorkRaster(work, Layout(Product.CLASS, np.uint8), order.grid) as raster,
        Reader(to_read, listener.reading) as reader,
    ):
        stream = Stream(network, normaliser, raster, device, listener, order.batch)
        for group in reader:
            for results in stream.feed(group):
                yield from results
                if cancelled():
                    raise Cancelled


def check(order: PredictOrder, card: ModelCard) -> None:
    """Raise InvalidInput for an order that contradicts itself or the card."""
    if len(order.bands) != len(card.bands):
        raise InvalidInput(
            f"{card.reference} takes {len(card.bands)} bands, not {len(order.bands)}"
        )
    for tile in order.windows:
        inside = (
            0 <= tile.row_off_px < tile.row_end_px <= order.grid.height_px
            and 0 <= tile.col_off_px < tile.col_end_px <= order.grid.width_px
        )
        if not inside:
            raise InvalidInput(f"tile {tile} does not lie in the scene")


class Stream:
    """Tiles in, results out, in the same order, with chips of several tiles in one batch."""

    def __init__(
        self,
        network: Network,
        normaliser: Normaliser,
        raster: WorkRaster,
        device: Computing,
        listener: Listener,
        batch: int | None,
    ) -> None:
        self._network = network
        self._normaliser = normaliser
        self._raster = raster
        self._device = device
        self._listener = listener
        self._asked = batch
        self._values = np.array([found.value for found in network.card.classes], np.uint8)
        self._tiles: deque[Chips] = deque()
        self._places: list[tuple[Chips, int]] = []

    @property
    def _batch(self) -> int:
        """Chips to give to the device at once, a power of two; another run may have learnt that it
        takes less.
        """
        most = min(self._network.batch, self._asked or self._network.batch)
        return 1 << (most.bit_length() - 1)

    def feed(self, group: list[Tile]) -> Iterator[list[TileResult]]:
        """After each batch, the tiles that it completed; after the last one, none are left."""
        for tile in group:
            chips = select(self._spoilt(tile), self._network.card.chip_px)
            self._tiles.append(chips)
            self._places += [(chips, i) for i in range(chips.left)]
            while len(self._places) >= self._batch:
                self._infer_next()
                yield self._take_completed()
        while self._places:
            self._infer_next()
            yield self._take_completed()
        yield self._take_completed()

    def _spoilt(self, tile: Tile) -> Tile:
        """The tile, or on a simulated device a failed one where the simulation wants it so."""
        faulty = self._device.faulty
        if tile.pixels is None or faulty is None or not faulty.spoils_read(tile.window):
            return tile
        return Tile(tile.window, None, None, tile.read_ms, "simulated: the tile cannot be read")

    def _infer_next(self) -> None:
        """Infer the next batch; where it has no room, halve it until it has."""
        while True:
            limit = self._batch
            batch = self._places[:limit]
            size = padded(len(batch), limit)
            try:
                self._infer(batch, size)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._network.batch = min(self._network.batch, size // 2)
                self._listener.halved(size, size // 2)
            else:
                del self._places[: len(batch)]
                return

    def _infer(self, batch: list[tuple[Chips, int]], size: int) -> None:
        began = time.perf_counter()
        windows = {chips.window: None for chips, _ in batch}
        index, probability = self._device.classify(
            self._network,
            size,
            lambda: assemble(batch, size, self._normaliser),
            windows,
            self._listener.computing,
        )
        share_ms = 1000 * (time.perf_counter() - began) / len(batch)
        for place, (chips, i) in enumerate(batch):
            chips.classes[i] = self._values[index[place]]
            chips.probabilities[i] = probability[place]
            chips.infer_ms += share_ms
            chips.left -= 1

    def _take_completed(self) -> list[TileResult]:
        results = []
        while self._tiles and self._tiles[0].left == 0:
            results.append(self._finish(self._tiles.popleft()))
        return results

    def _finish(self, chips: Chips) -> TileResult:
        """Paint a tile's classes and sum it up."""
        if chips.error is not None:
            return TileResult(
                chips.window, TileState.FAILED, read_ms=chips.read_ms, error=chips.error
            )
        per_chip = np.full(len(chips.wanted), NOTHING, np.uint8)
        per_chip[chips.wanted] = chips.classes
        chip_px = self._network.card.chip_px
        self._raster.write(chips.window, paint(per_chip, chips.valid, chips.window, chip_px))
        values, counts = np.unique(chips.classes, return_counts=True)
        return TileResult(
            window=chips.window,
            state=TileState.COMPLETED,
            class_counts={int(v): int(n) for v, n in zip(values, counts, strict=True)},
            confidence=float(chips.probabilities.mean()) if len(values) else None,
            valid_fraction=float(chips.valid.mean()),
            read_ms=chips.read_ms,
            infer_ms=chips.infer_ms,
        )


def select(tile: Tile, chip_px: int) -> Chips:
    """Cut a tile into chips and keep those with enough data; an unreadable tile has none."""
    if tile.pixels is None or tile.valid is None:
        empty = np.empty(0)
        return Chips(
            window=tile.window,
            valid=empty.astype(np.bool_),
            read_ms=tile.read_ms,
            wanted=empty.astype(np.bool_),
            pixels=empty,
            holes=None,
            classes=empty.astype(np.uint8),
            probabilities=empty.astype(np.float32),
            left=0,
            error=tile.error,
        )
    fractions = valid_fractions(tile.valid, tile.window, chip_px)
    wanted = fractions >= LEAST_VALID_FRACTION
    count = int(wanted.sum())
    pixels = cut(tile.pixels, tile.window, chip_px)
    whole = fractions[wanted].min(initial=1.0) == 1
    holes = None if whole else cut(tile.valid[None], tile.window, chip_px)[wanted, 0]
    return Chips(
        window=tile.window,
        valid=tile.valid,
        read_ms=tile.read_ms,
        wanted=wanted,
        pixels=pixels if count == len(wanted) else pixels[wanted],
        holes=holes,
        classes=np.empty(count, np.uint8),
        probabilities=np.empty(count, np.float32),
        left=count,
    )


def padded(count: int, batch: int) -> int:
    """The size that a batch of `count` chips is filled up to: one of few, none above `batch`.

    Kernels are set up once per shape, so batches come in powers of two.
    """
    return max(min(SMALLEST_BATCH, batch), 1 << (count - 1).bit_length())


def assemble(batch: list[tuple[Chips, int]], size: int, normaliser: Normaliser) -> torch.Tensor:
    """The batch's chips, normalised, filled up to `size`; what comes of the filling is not used."""
    first = batch[0][0].pixels
    pixels = np.zeros((size, *first.shape[1:]), first.dtype)
    masked = any(chips.holes is not None for chips, _ in batch)
    valid = np.ones((size, *first.shape[2:]), np.bool_) if masked else None
    for place, (chips, i) in enumerate(batch):
        pixels[place] = chips.pixels[i]
        if valid is not None and chips.holes is not None:
            valid[place] = chips.holes[i]
    device = normaliser.mean.device
    mask = None if valid is None else torch.from_numpy(valid).to(device)
    return normaliser(torch.from_numpy(pixels).to(device), mask)
