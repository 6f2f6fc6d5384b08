"""What batches take of a device's memory, where several are on it at once."""

import threading
from collections.abc import Callable


class MemoryGauge:
    """Reads a device's own peak, which all lanes share.

    The peak counts from the moment at which the device had nothing to do, and says something of a
    network only as long as nothing but batches of this one came onto the device since.
    """

    def __init__(
        self, allocated: Callable[[], int], peak: Callable[[], int], reset: Callable[[], None]
    ) -> None:
        """What is allocated, the most since the last reset, both in bytes, and to reset that."""
        self._allocated = allocated
        self._peak = peak
        self._reset = reset
        self._lock = threading.Lock()
        self._under_way = 0
        self._before = 0
        self._whose: int | None = None  # None once there was somebody else's

    def begin(self, who: object) -> None:
        """Something of `who` comes onto the device."""
        with self._lock:
            if self._under_way == 0:
                self._reset()
                self._before, self._whose = self._allocated(), id(who)
            elif self._whose != id(who):
                self._whose = None
            self._under_way += 1

    def end(self, *, failed: bool = False) -> int | None:
        """It is off the device: bytes that all of its kind took at most. None where others were
        there too, or something failed, which may have taken all that there was.
        """
        with self._lock:
            self._under_way -= 1
            if failed:
                self._whose = None
            return None if self._whose is None else self._peak() - self._before
