"""What supervisor and zygote say to each other: one JSON object a line."""

import json
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunOrder:
    """Everything a run process needs to know.

    `sockets` are its devices' engines by uuid. `resumed_after` says why the run goes on in a new
    process; None for one that starts.
    """

    run_id: str
    instance_ref: str
    fence: int
    attempt: int
    sockets: dict[str, str]
    resumed_after: str | None = None


Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """A message as one line."""
    return json.dumps(message).encode() + b"\n"


def run_order(order: RunOrder) -> bytes:
    """An order to run, as one line."""
    return encode({"run": asdict(order)})


class Channel:
    """Lines over a socket. `receive` returns the messages that have arrived; [] means closed."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    def fileno(self) -> int:
        """For select."""
        return self.connection.fileno()

    def send(self, line: bytes) -> None:
        """Send one line. Raises OSError when the other side is gone."""
        self.connection.sendall(line)

    def receive(self) -> list[Message]:
        """Wait for data; return the whole messages in it, or [] once the other side is gone."""
        messages: list[Message] = []
        while not messages:
            try:
                data = self.connection.recv(65536)
            except ConnectionResetError:  # it ended without having read what we said last
                return []
            if not data:
                return []
            messages = list(self._split(data))
        return messages

    def _split(self, data: bytes) -> Iterator[Message]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)
