"""Talks to an engine. Imports neither torch nor rasterio, so a forked run process stays light."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.inference.protocol import (
    REFUSED,
    VERSION,
    Lines,
    Message,
    PredictOrder,
    tile_from_json,
)

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0


class EngineClient:
    """Requests to the engine behind a socket; each call is a connection of its own."""

    def __init__(self, socket_path: Path | str) -> None:
        self._path = str(socket_path)
        self.summary: Message = {}  # what the last whole prediction said at its end

    def hello(self) -> Message:
        """What the engine is: version, device, simulated, pid, torch version, loaded models."""
        return self._ask("hello")

    def ping(self) -> Message:
        """That the engine lives, and whether it is computing. Answered at once, even then."""
        return self._ask("ping")

    def probe(self, timeout_s: float) -> Message:
        """Have a small known computation done: {"ok": bool, "reason": str | None, ...}."""
        return self._ask("probe", timeout_s)

    def predict(
        self,
        order: PredictOrder,
        hear: Callable[[Message], None] = lambda _: None,
        opened: Callable[[socket.socket], None] = lambda _: None,
    ) -> Iterator[TileResult]:
        """Each tile's result as soon as it is known. Closing the iterator cancels the rest.

        `hear` is given each line that is no tile; `opened` the connection, so that another thread
        can shut it down. Raises EngineFailed: its `code` is EngineFailed's own where the engine
        died, stopped or cannot be reached, so that trying again can help; a refusal has another.
        """
        with self._connect() as connection:
            connection.settimeout(None)  # a batch may be long; the worker ends an engine that hangs
            opened(connection)
            lines = Lines(connection)
            send(lines, "predict", order.to_json())
            while "done" not in (message := receive(lines)):
                if "tile" in message:
                    yield tile_from_json(message["tile"])
                else:
                    hear(message)
            self.summary = message["done"]

    def _ask(self, question: str, timeout_s: float = ANSWER_TIMEOUT_S) -> Message:
        with self._connect() as connection:
            connection.settimeout(timeout_s)
            lines = Lines(connection)
            send(lines, question, {})
            answer: Any = receive(lines).get(question)
        if not isinstance(answer, dict):
            raise failure(REFUSED, "the engine's answer makes no sense")
        return answer

    def _connect(self) -> "closing[socket.socket]":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise EngineFailed("the device's engine does not answer") from error
        return closing(connection)


def send(lines: Lines, question: str, content: Message) -> None:
    """One request."""
    try:
        lines.send({question: content, "version": VERSION})
    except OSError as error:
        raise EngineFailed("the device's engine closed the connection") from error


def receive(lines: Lines) -> Message:
    """One answer; an error becomes an exception."""
    try:
        message = lines.receive()
    except OSError as error:
        raise EngineFailed("the device's engine stopped answering") from error
    if message is None:
        raise EngineFailed("the device's engine died")
    if "error" in message:
        raise failure(str(message["error"]["code"]), str(message["error"]["message"]))
    return message


def failure(code: str, message: str) -> EngineFailed:
    """An EngineFailed with the code that the engine gave."""
    error = EngineFailed(message)
    error.code = code
    return error
