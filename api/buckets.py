"""Rates: a bucket of tokens for each account, filled at a steady pace and emptied by requests."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

REMEMBERED = 10_000


class Buckets:
    """A bucket per name, of `burst` tokens when full, filled by `rate_per_s`.

    A bucket that nobody has taken from for long is full, so the ones that were used least lately
    can be forgotten.
    """

    def __init__(
        self, rate_per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, name: str) -> float:
        """Take a token: 0, or the seconds until there is one, and then none is taken."""
        now_s = self._clock()
        with self._lock:
            level, at_s = self._levels.pop(name, (self._burst, now_s))
            level = min(self._burst, level + (now_s - at_s) * self._rate_per_s)
            taken = level >= 1
            self._levels[name] = (level - taken, now_s)
            if len(self._levels) > REMEMBERED:
                self._levels.popitem(last=False)
        return 0.0 if taken else (1 - level) / self._rate_per_s

    def give_back(self, name: str) -> None:
        """Put a token back that was taken for nothing."""
        with self._lock:
            level, at_s = self._levels.get(name, (self._burst, self._clock()))
            self._levels[name] = (min(self._burst, level + 1), at_s)
