"""Questions to an engine that may hang, asked without ever waiting for it."""

import json
import socket
import time
from contextlib import suppress
from pathlib import Path

from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.inference.protocol import VERSION, Message, decode

CHUNK_BYTES = 1 << 16


class Pulse:
    """One open question at a time. Every method returns at once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._connection: socket.socket | None = None
        self._said = b""
        self._asked_at = 0.0
        self._heard = False

    @property
    def open(self) -> bool:
        """Whether a question has not been answered yet."""
        return self._connection is not None

    @property
    def unanswered_s(self) -> float:
        """For how long the open question has had no answer; 0 without one."""
        return time.monotonic() - self._asked_at if self.open else 0.0

    def ask(self, question: str) -> None:
        """Ask, and forget what was asked before. Where nobody listens, nothing is open then."""
        self.forget()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
            connection.sendall(json.dumps({question: {}, "version": VERSION}).encode() + b"\n")
            self._heard = True
        except BlockingIOError:  # it takes no connections: open, and without an answer
            self._heard = False
        except OSError:
            connection.close()
            return
        self._connection, self._asked_at = connection, time.monotonic()

    def answer(self) -> Message | None:
        """The answer, once it has come."""
        if self._connection is None or not self._heard:
            return None
        try:
            data = self._connection.recv(CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self._said += data
        if data and not self._said.endswith(b"\n"):
            return None
        said = self._said
        self.forget()
        with suppress(EngineFailed):
            return decode(said)
        return None

    def forget(self) -> None:
        """Drop the open question."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._said = None, b""
