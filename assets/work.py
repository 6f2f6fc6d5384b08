"""A run's tiles on their way to its engines: who does which, and what has to be done again."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable

from constellation_pipelines.domain.window import Window

SMALLEST_PIECE = 4  # below this, opening the raster costs more than an even share saves

Piece = tuple[Window, ...]


class Work:
    """Tiles that wait, shared by one thread for each engine.

    Pieces get smaller towards the end, so that no engine works on alone for long. One engine gets
    everything in one piece. A tile stays open until it is settled, whatever became of its piece.
    """

    def __init__(self, windows: Iterable[Window], hands: int, alone: Iterable[Window] = ()) -> None:
        """`alone` are tiles to be run one by one, each as a piece of its own."""
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
        """The next piece; waits while others may still bring some back. None when all is done."""
        with self._changed:
            while not self.done and not self._stopped:
                piece = self._next()
                if piece:
                    return piece
                self._changed.wait(self._until_due())
            return None

    def settle(self, windows: Iterable[Window]) -> None:
        """These tiles have their result."""
        with self._changed:
            self._open.difference_update(windows)
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
        if self._waiting:
            size = len(self._waiting)
            if self._hands > 1:
                size = min(size, max(SMALLEST_PIECE, size // (2 * self._hands)))
            return tuple(self._waiting.popleft() for _ in range(size))
        return (self._alone.popleft(),) if self._alone else ()

    def _until_due(self) -> float | None:
        if not self._later:
            return None
        return max(0.0, self._later[0][0] - time.monotonic())
