"""Fair turns on a device: whoever has waited longest is next."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Several runs share a device by taking it for one batch at a time, in order of asking."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False
        self._began: float | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the device. It is passed on in the order in which it was asked for."""
        self._take()
        try:
            yield
        finally:
            self._pass_on()

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether the device was free within this time; it is kept from then on."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self._lock:
                if not self._taken:
                    self._taken = True
                    return True
            time.sleep(0.01)
        return False

    @property
    def busy_s(self) -> float | None:
        """Seconds since the present holder's turn began, None while nobody holds it."""
        began = self._began
        return None if began is None else time.monotonic() - began

    def _take(self) -> None:
        with self._lock:
            if self._taken:
                my_turn = threading.Event()
                self._waiting.append(my_turn)
            else:
                self._taken, my_turn = True, None
        if my_turn is not None:
            my_turn.wait()
        self._began = time.monotonic()

    def _pass_on(self) -> None:
        with self._lock:
            self._began = None
            if self._waiting:
                self._waiting.popleft().set()  # still taken, by the next one
            else:
                self._taken = False
