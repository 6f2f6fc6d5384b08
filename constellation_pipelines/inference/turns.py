"""Fair turns on a device: whoever has waited longest is next."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Several runs share a device by taking one of its places for one batch at a time, in order of
    asking.
    """

    def __init__(self, places: int = 1) -> None:
        """`places` batches may be on the device at once."""
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._places = places
        self._free = places
        self._began: dict[int, float] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a place. It is passed on in the order in which it was asked for."""
        self._take()
        me = threading.get_ident()
        self._began[me] = time.monotonic()
        try:
            yield
        finally:
            del self._began[me]
            self._pass_on()

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether the device was free within this time; it is kept from then on."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self._lock:
                if self._free == self._places:
                    self._free = 0
                    return True
            time.sleep(0.01)
        return False

    @property
    def busy_s(self) -> float | None:
        """Seconds since the longest of the present turns began, None while there is none."""
        began = list(self._began.values())
        return time.monotonic() - min(began) if began else None

    def _take(self) -> None:
        with self._lock:
            if self._free == 0:
                my_turn = threading.Event()
                self._waiting.append(my_turn)
            else:
                self._free -= 1
                my_turn = None
        if my_turn is not None:
            my_turn.wait()

    def _pass_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # the place is the next one's, never free between
            else:
                self._free += 1
