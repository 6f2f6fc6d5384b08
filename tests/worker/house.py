"""A zygote of a test's own making, and the supervisor's end of its channel."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psutil

from constellation_pipelines.worker.orders import Channel, Message

WAIT_S = 60.0


class House:
    """Runs `program`, which serves a zygote on the socket whose number is its argument."""

    def __init__(self, program: str) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(WAIT_S)
        self.child = subprocess.Popen(
            [sys.executable, "-c", program, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self.process = psutil.Process(self.child.pid)
        self.channel = Channel(ours)
        self._heard: list[Message] = []
        assert "ready" in self.hear()

    def hear(self) -> Message:
        """The next message of the zygote."""
        while not self._heard:
            self._heard = self.channel.receive()
            assert self._heard, "the zygote has ended"
        return self._heard.pop(0)


AnyHouse = TypeVar("AnyHouse", bound=House)


@contextmanager
def opened(made: AnyHouse) -> Iterator[AnyHouse]:
    """The house until the test is over."""
    yield made
    made.channel.connection.close()
    try:
        made.child.wait(WAIT_S)  # it ends its runs first
    finally:
        made.child.kill()
        made.child.wait()


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
