"""A listener on loopback that counts who calls."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Listener:
    """Connections wait in the kernel's queue, so that a caller who holds the GIL is seen too."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.port: int = listening.getsockname()[1]

    def count(self) -> int:
        """How many have called since the last count."""
        calls = 0
        while True:
            try:
                self._listening.accept()[0].close()
            except BlockingIOError:
                return calls
            calls += 1


@contextmanager
def listen() -> Iterator[Listener]:
    """A listener on a free port of loopback."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        listening.setblocking(False)
        yield Listener(listening)
