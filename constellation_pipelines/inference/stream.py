"""Pieces in, results out: chips of several tiles in one batch, several batches on the device."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import Protocol

import torch  # noqa: TID253 - only the engine imports this module

from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.ahead import Ahead
from constellation_pipelines.inference.batch import Batch, Cut
from constellation_pipelines.inference.computing import Asked, Computing, Found
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.piece import Piece, Work

SMALLEST_BATCH = 8


class Listener(Protocol):
    """Hears what happens between two results. Called from the reader's and lanes' threads too."""

    def reading(self, windows: Iterable[Window]) -> None:
        """These tiles are being read from now on; () when none is."""

    def computing(self, windows: Iterable[Window]) -> None:
        """Chips of these tiles are on the device; () once none is."""

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


class OnDevice:
    """Whose chips are on the device, over all of a run's batches."""

    def __init__(self, announce: Callable[[Iterable[Window]], None]) -> None:
        self._announce = announce
        self._lock = threading.Lock()
        self._tiles: Counter[Window] = Counter()

    def change(self, tiles: Iterable[Window], on: bool) -> None:
        """Chips of these tiles go onto the device, or are off it."""
        with self._lock:  # kept while it is told, so that what is told is in order
            for tile in tiles:
                self._tiles[tile] += 1 if on else -1
                if not self._tiles[tile]:
                    del self._tiles[tile]
            self._announce(sorted(self._tiles))


class Stream:
    """One run's chips on their way through the device.

    Results of batches are settled in the order in which their chips were cut, whichever is ready
    first: so sums come out the same every time.
    """

    def __init__(
        self,
        network: Network,
        normaliser: Normaliser,
        work: Work,
        device: Computing,
        listener: Listener,
        most: int | None,
    ) -> None:
        """`most` is the largest batch asked for, None for the network's own."""
        self._network = network
        self._normaliser = normaliser
        self._work = work
        self._device = device
        self._listener = listener
        self._most = most
        self._on_device = OnDevice(listener.computing)
        self._runs: deque[tuple[Cut, int, int]] = deque()
        self._waiting = 0  # chips in `_runs`
        self._under_way: deque[tuple[Asked, Future[Found]]] = deque()

    def run(self, pieces: Ahead[Piece]) -> Iterator[list[TileResult]]:
        """After each batch, the tiles that it completed."""
        try:
            while True:
                if self._waiting < self._batch and (piece := self._next(pieces)) is not None:
                    yield piece.done
                elif self._under_way or self._waiting:
                    self._start()
                    self._settle_next()
                elif pieces.ended:
                    return
                yield self._work.take_completed()
        finally:
            for _, future in self._under_way:
                future.cancel()
            wait([future for _, future in self._under_way])

    def _next(self, pieces: Ahead[Piece]) -> Piece | None:
        """Take the next piece in; wait for it only while the device has nothing to do."""
        piece = pieces.next(wait=not self._under_way and not self._waiting)
        if piece is not None:
            if piece.tiles:
                self._work.begin(piece)
            for cut in piece.cuts:
                self._runs.append((cut, 0, len(cut)))
                self._waiting += len(cut)
            self._start()
        return piece

    @property
    def _batch(self) -> int:
        """Chips to give to the device at once, a power of two; another run may have learnt that it
        takes less.
        """
        most = min(self._network.batch, self._most or self._network.batch)
        return 1 << (most.bit_length() - 1)

    def _start(self) -> None:
        """Start batches: full ones while few are under way, smaller ones where a lane is idle."""
        lanes = self._device.lanes
        while self._waiting:
            idle = lanes - len(self._under_way)
            full = self._waiting >= self._batch and idle >= 0  # one waits for the next free lane
            if idle <= 0 and not full:
                return
            share = padded(-(-self._waiting // max(idle, 1)), self._batch)
            self._give(self._taken(min(share, self._waiting)))

    def _give(self, batch: Batch) -> None:
        asked = self._asked(batch)
        self._under_way.append((asked, self._device.start(asked)))

    def _asked(self, batch: Batch) -> Asked:
        size = self._batch if self._device.one_shape else padded(len(batch), self._batch)
        return Asked(self._network, self._normaliser, batch, size, self._on_device.change)

    def _taken(self, count: int) -> Batch:
        """The next chips, `count` of those that wait."""
        runs = []
        self._waiting -= count
        while count:
            cut, start, end = self._runs.popleft()
            taken = min(end - start, count)
            runs.append((cut, start, start + taken))
            if start + taken < end:
                self._runs.appendleft((cut, start + taken, end))
            count -= taken
        return Batch(tuple(runs))

    def _settle_next(self) -> None:
        asked, future = self._under_way.popleft()
        try:
            found = future.result()
        except torch.OutOfMemoryError:
            self._halve(asked)
        else:
            self._settle(asked.batch, found)

    def _settle(self, batch: Batch, found: Found) -> None:
        ms_each, passed = found.device_ms / len(batch), 0
        for cut, start, end in batch.runs:
            answer = found.answer[passed : passed + end - start]
            self._work.settle(cut, start, end, answer, ms_each)
            passed += end - start

    def _halve(self, refused: Asked) -> None:
        """Infer a batch that had no room in parts that have; before any that began later."""
        if refused.size == 1:
            raise torch.OutOfMemoryError
        half = refused.size // 2
        if self._network.batch > half:  # else another batch has learnt as much
            self._network.batch = half
            self._listener.halved(refused.size, half)
        batch, half = refused.batch, self._batch
        for start in range(0, len(batch), half):
            asked = self._asked(batch.part(start, min(start + half, len(batch))))
            try:
                found = self._device.start(asked).result()
            except torch.OutOfMemoryError:
                self._halve(asked)
            else:
                self._settle(asked.batch, found)


def padded(count: int, batch: int) -> int:
    """The size that a batch of `count` chips is filled up to: one of few, none above `batch`.

    Kernels are set up once per shape, so batches come in powers of two.
    """
    return min(max(SMALLEST_BATCH, 1 << (count - 1).bit_length()), batch)
