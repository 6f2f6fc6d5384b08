"""Many sockets in one process that does as little as it can: they must not be what is measured.

One thread waits for all of them. A frame that other sockets have had is not looked into again: it
is found by its bytes, and noted with the instant of its arrival. What each socket was sent is
counted and put in order after the measurement.
"""

import json
import os
import random
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from api.live.sockets import take_descriptors

CHUNK = 1 << 16  # more would have to be allocated anew each time
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
BACK_AFTER_S = (0.05, 1.0)  # how long a socket that was cut is away
SETTLE_S = 60.0


class Frames:
    """Different frames, by their bytes: ids of the tiles in each, and whether it says `live`."""

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.whole: dict[bytes, int] = {}  # as they lie on the wire
        self.ids: list[list[int]] = []
        self.live: list[bool] = []

    def number_of(self, payload: bytes) -> int:
        """The number of a frame."""
        number = self.known.get(payload)
        if number is None:
            number = self.known[payload] = len(self.ids)
            said = json.loads(payload)
            self.ids.append([one["id"] for one in said if one["type"] == "tile.completed"])
            self.live.append(any(one["type"] == "stream.subscribed" for one in said))
        return number


class Reader:
    """One socket, through its cuts."""

    def __init__(self, url: str, frames: Frames) -> None:
        self._url = urlsplit(url)
        self._frames = frames
        self._left = b""
        self.socket: socket.socket | None = None
        self.frames: list[int] = []
        self.arrivals: list[float] = []
        self.away: list[tuple[float, float]] = []
        self.last = 0
        self.live = False
        self.code: int | None = None
        self._cut_at = 0.0

    def connect(self) -> None:
        """Open, and ask for all that came after the last event."""
        host, port = self._url.hostname, self._url.port
        opened = socket.create_connection((host, port), 60)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        separator = "&" if self._url.query else "?"
        target = f"{self._url.path}?{self._url.query}{separator}after={self.last}"
        opened.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.socket, self._left, self.live, self.upgraded = opened, b"", False, False

    def cut(self) -> int:
        """Lose the connection, without a word; its descriptor."""
        assert self.socket is not None
        number = self.socket.fileno()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()
        self.socket = None
        self._cut_at = time.monotonic()
        return number

    def receive(self) -> bool:
        """Take what has come; False when the server has closed."""
        assert self.socket is not None
        data = self.socket.recv(CHUNK)
        if not data:
            return False
        now = time.monotonic()
        if (
            not self._left
            and self.upgraded
            and (number := self._frames.whole.get(data)) is not None
        ):
            self.frames.append(number)
            self.arrivals.append(now)
            return True
        self._left += data
        return self._take(now)

    def _take(self, now: float) -> bool:
        if not self.upgraded:
            head, found, rest = self._left.partition(b"\r\n\r\n")
            if not found:
                return True
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise RuntimeError(f"the API refused a socket: {head[:200]!r}")
            self.upgraded, self._left = True, rest
        while (taken := frame_in(self._left)) is not None:
            opcode, start, end = taken
            whole, payload = self._left[:end], self._left[start:end]
            self._left = self._left[end:]
            if opcode == TEXT:
                self._text(payload, whole, now)
            elif opcode == PING:
                assert self.socket is not None
                self.socket.sendall(bytes((0x80 | PONG, 0x80 | len(payload))) + bytes(4) + payload)
            elif opcode == CLOSE:
                self.code = int.from_bytes(payload[:2], "big")
                return False
        return True

    def _text(self, payload: bytes, whole: bytes, now: float) -> None:
        number = self._frames.number_of(payload)
        if self._frames.live[number]:
            self.live = True
            if self._cut_at:
                self.away.append((self._cut_at, now))
        elif self._frames.ids[number]:
            self._frames.whole[whole] = number
        self.frames.append(number)
        self.arrivals.append(now)

    @property
    def heard(self) -> list[int]:
        """Ids of all tiles that came."""
        return [id for number in self.frames for id in self._frames.ids[number]]

    def remember_last(self) -> None:
        """Look for the last id, which is not looked at as frames come."""
        for number in reversed(self.frames):
            if self._frames.ids[number]:
                self.last = self._frames.ids[number][-1]
                return


def frame_in(data: bytes) -> tuple[int, int, int] | None:
    """Opcode, start and end of the payload of a first, whole frame."""
    if len(data) < 2:
        return None
    length, start = data[1] & 0x7F, 2
    if length >= 126:
        start = 4 if length == 126 else 10
        if len(data) < start:
            return None
        length = int.from_bytes(data[2:start], "big")
    return None if len(data) < start + length else (data[0] & 0x0F, start, start + length)


class Crowd:
    """All sockets, cut and connected again as told."""

    def __init__(self, url: str, count: int) -> None:
        self.frames = Frames()
        self.readers = [Reader(url, self.frames) for _ in range(count)]
        self._poll = select.epoll()
        self._of: dict[int, Reader] = {}
        self._back: list[tuple[float, Reader]] = []
        self.cuts = 0

    def connect(self) -> None:
        """Connect all; returns when each of them is live."""
        for reader in self.readers:
            self._open(reader)
            self.turn(0)
        until = time.monotonic() + SETTLE_S
        while not all(reader.live for reader in self.readers):
            if time.monotonic() > until:
                raise RuntimeError("not every socket became live")
            self.turn(0.1)

    def _open(self, reader: Reader) -> None:
        reader.connect()
        assert reader.socket is not None
        self._of[reader.socket.fileno()] = reader
        self._poll.register(reader.socket.fileno(), select.EPOLLIN)

    def cut(self, share: float) -> None:
        """Cut a share of them, which come back within a second."""
        now = time.monotonic()
        chosen = random.sample(self.readers, round(share * len(self.readers)))
        for reader in chosen:
            if reader.socket is not None and reader.live:
                reader.remember_last()
                del self._of[reader.cut()]
                self._back.append((now + random.uniform(*BACK_AFTER_S), reader))
                self.cuts += 1

    def turn(self, wait_s: float) -> None:
        """Take what comes within so long, and have back those whose time has come."""
        for number, _ in self._poll.poll(wait_s):
            reader = self._of.get(number)
            if reader is not None and number != 0 and not reader.receive():
                raise RuntimeError(f"the API closed a socket with code {reader.code}")
        if self._back:
            now = time.monotonic()
            due = [reader for at, reader in self._back if at <= now]
            self._back = [(at, reader) for at, reader in self._back if at > now]
            for reader in due:
                self._open(reader)

    def close(self) -> None:
        """Leave."""
        self._poll.close()
        for reader in self.readers:
            if reader.socket is not None:
                reader.socket.close()

    @property
    def whole(self) -> bool:
        """Whether all are connected and live."""
        return not self._back and all(reader.live for reader in self.readers)


def work(url: str, count: str, share: str, every_s: str, out: str) -> None:
    """Connect, say so, read until a line holds the last id that is expected, write what came."""
    random.seed(7)
    take_descriptors()
    crowd = Crowd(url, int(count))
    crowd.connect()
    print("connected", flush=True)
    os.set_blocking(0, False)
    cut_at, last, until = time.monotonic() + float(every_s), 0, 0.0
    told = b""
    while not (last and (complete(crowd, last) or time.monotonic() > until)):
        crowd.turn(0.02)
        now = time.monotonic()
        if float(share) and not last and now > cut_at:
            cut_at = now + float(every_s)
            crowd.cut(float(share))
        try:
            told += os.read(0, 100)
        except BlockingIOError:
            continue
        if told.endswith(b"\n"):
            last, until, told = int(told), now + SETTLE_S, b""
    write(crowd, Path(out))
    print(crowd.cuts, flush=True)


def complete(crowd: Crowd, last: int) -> bool:
    """Whether every socket has come to this event."""
    for reader in crowd.readers:
        reader.remember_last()
    return crowd.whole and all(reader.last >= last for reader in crowd.readers)


def write(crowd: Crowd, path: Path) -> None:
    """What came, for `figures`."""
    import numpy as np

    readers: list[dict[str, Any]] = [{"away": reader.away} for reader in crowd.readers]
    np.savez(
        path,
        frames=np.concatenate([np.array(r.frames, np.int32) for r in crowd.readers]),
        arrivals=np.concatenate([np.array(r.arrivals) for r in crowd.readers]),
        counts=np.array([len(r.frames) for r in crowd.readers]),
        ids=np.array([id for ids in crowd.frames.ids for id in ids], np.int64),
        ids_of=np.array([len(ids) for ids in crowd.frames.ids]),
        away=np.array(json.dumps(readers)),
        cpu_s=np.array(time.process_time()),
    )


if __name__ == "__main__":
    work(*sys.argv[1:])
