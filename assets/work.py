"""A run's tiles on their way to its engines: who does which, and what has to be done again."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from constellation_pipelines.domain.errors import PixelsLate
from constellation_pipelines.domain.window import Window

SMALLEST_PIECE = 4  # below this, opening the raster costs more than an even share saves

Piece = tuple[Window, ...]

LOOK_S = 0.1
STARVED_S = 10.0  # a device is not held for pixels that do not come


class Pixels(Protocol):
    """Where a tile's pixels are: on this host, or on their way to it."""

    def look(self) -> None:
        """See what has come."""

    def has(self, window: Window) -> bool:
        """Whether this tile can be read, as far as was seen."""


class Work:
    """Tiles that wait, shared by one thread for each engine.

    Pieces get smaller towards the end, so that no engine works on alone for long. One engine gets
    everything in one piece. A tile stays open until it is settled, whatever became of its piece.
    Of a remote scene, a tile is given out once its pixels are here.
    """

    def __init__(
        self,
        windows: Iterable[Window],
        hands: int,
        alone: Iterable[Window] = (),
        pixels: Pixels | None = None,
        starved_s: float = STARVED_S,
    ) -> None:
        """`alone` are tiles to be run one by one, each as a piece of its own."""
        self._pixels = pixels
        self._starved_s = starved_s
        self._fed_at = time.monotonic()
        self._alone = deque(alone)
        suspects = set(self._alone)
        self._waiting = deque(sorted(w for w in windows if w not in suspects))
        self._later: list[tuple[float, Window]] = []
        self._open = {*self._waiting, *suspects}
        self._hands = hands
        self._stopped = False
        self._changed = threading.Condition()

    @property
    def done(self) -> bool:
        """Whether every tile is settled."""
        return not self._open

    @property
    def stopped(self) -> bool:
        """Whether the rest is not wanted any more."""
        return self._stopped

    def take(self) -> Piece | None:
        """The next piece; waits while others may still bring some back. None when all is done.

        Raises PixelsLate when nobody has had a tile to work on for a while, for want of pixels.
        """
        with self._changed:
            while not self.done and not self._stopped:
                piece = self._next()
                if piece:
                    return piece
                self._refuse_to_starve()
                self._changed.wait(self._until_due())
            return None

    def settle(self, windows: Iterable[Window]) -> None:
        """These tiles have their result."""
        with self._changed:
            self._open.difference_update(windows)
            self._fed_at = time.monotonic()
            self._changed.notify_all()

    def bring_back(self, windows: Iterable[Window]) -> None:
        """Nothing is wrong with these; their engine is gone."""
        with self._changed:
            self._waiting = deque(sorted({*self._waiting, *windows}))
            self._changed.notify_all()

    def run_alone(self, windows: Iterable[Window]) -> None:
        """One of these may be what killed the engine: each is a piece of its own from now on."""
        with self._changed:
            self._alone.extend(windows)
            self._changed.notify_all()

    def run_later(self, windows: Iterable[Window], delay_s: float) -> None:
        """Try these again after a pause."""
        with self._changed:
            for window in windows:
                heapq.heappush(self._later, (time.monotonic() + delay_s, window))
            self._changed.notify_all()

    def stop(self) -> None:
        """Let everybody go home."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _next(self) -> Piece:
        now = time.monotonic()
        due = []
        while self._later and self._later[0][0] <= now:
            due.append(heapq.heappop(self._later)[1])
        if due:
            return tuple(due)
        if self._pixels is not None:
            self._pixels.look()
        if self._waiting:
            size = len(self._waiting)
            if self._hands > 1:
                size = min(size, max(SMALLEST_PIECE, size // (2 * self._hands)))
            piece = self._first_here(size)
            if piece or not self._alone:
                return piece
        return (self._alone.popleft(),) if self._alone and self._is_here(self._alone[0]) else ()

    def _first_here(self, size: int) -> Piece:
        """Take up to `size` tiles, the first of those whose pixels are here."""
        piece = [window for window in self._waiting if self._is_here(window)][:size]
        taken = set(piece)
        self._waiting = deque(window for window in self._waiting if window not in taken)
        return tuple(piece)

    def _is_here(self, window: Window) -> bool:
        return self._pixels is None or self._pixels.has(window)

    def _refuse_to_starve(self) -> None:
        late = {*self._waiting, *self._alone}
        if self._pixels is None or not late or self._open - late:  # others are at work
            self._fed_at = time.monotonic()
        elif time.monotonic() - self._fed_at > self._starved_s:
            raise PixelsLate(
                f"pixels of {len(late)} tiles have not come for {self._starved_s:.0f} s; the "
                "device is given back until they have"
            )

    def _until_due(self) -> float | None:
        waits = [] if self._pixels is None else [LOOK_S]
        if self._later:
            waits.append(max(0.0, self._later[0][0] - time.monotonic()))
        return min(waits, default=None)
