"""Waiting for something to become true."""

import time
from collections.abc import Callable

PAUSE_S = 0.05


def wait_until(is_done: Callable[[], bool], timeout_s: float, *, pause_s: float = PAUSE_S) -> bool:
    """Ask until the answer is yes or the time is over; return the last answer."""
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
    return True
