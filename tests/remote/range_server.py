"""A file server with ranges on a real socket, which fails in the ways that servers fail."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.local_server import Quiet, local_server

Handler = BaseHTTPRequestHandler


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    connection: int  # the client's port: equal for requests over one connection

    @property
    def span(self) -> tuple[int, int]:
        """First and last byte asked for."""
        first, _, last = self.headers["range"].removeprefix("bytes=").partition("-")
        return int(first), int(last)


@dataclass
class RangeServer:
    """Objects by path, and what befalls those who ask for them.

    `fault` is asked before each answer; True means that it has answered (or hung up) itself.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    latency_s: float = 0.0
    fault: Callable[[Handler, Asked], bool] | None = None
    asked: list[Asked] = field(default_factory=list)
    sent_bytes: int = 0
    port: int = 0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return self.origin + path

    def etag(self, path: str) -> str:
        return f'"{hashlib.md5(self.objects[path]).hexdigest()}"'

    def answer(self, handler: Handler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.path, headers, handler.client_address[1])
        with self.lock:
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.latency_s)
            if self.fault is None or not self.fault(handler, asked):
                self.serve(handler, asked)
        finally:
            with self.lock:
                self.at_once -= 1

    def serve(self, handler: Handler, asked: Asked) -> None:
        """Answer as a good server does."""
        path = asked.path.partition("?")[0]
        if path not in self.objects:
            reply(handler, 404)
            return
        data, etag = self.objects[path], self.etag(path)
        if asked.headers.get("if-match") not in (None, etag):
            reply(handler, 412)
            return
        first, last = asked.span
        last = min(last, len(data) - 1)
        if first > last:
            reply(handler, 416, {"Content-Range": f"bytes */{len(data)}"})
            return
        headers = {"Content-Range": f"bytes {first}-{last}/{len(data)}", "ETag": etag}
        reply(handler, 206, headers, data[first : last + 1])
        with self.lock:
            self.sent_bytes += last - first + 1


def reply(
    handler: Handler, status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> bool:
    """A whole answer, its length declared unless told otherwise; True, for a fault to return."""
    handler.send_response(status)
    told = {"Content-Length": str(len(body)), **(headers or {})}
    for name, value in told.items():
        handler.send_header(name, value)
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(body)
    return True


def hang_up(handler: Handler) -> None:
    """Close the connection after what was sent."""
    handler.close_connection = True


@contextmanager
def serving(**objects: bytes) -> Iterator[RangeServer]:
    """A server on a free port of loopback."""
    server = RangeServer({f"/{name}": data for name, data in objects.items()})

    class Answering(Quiet):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_GET(self) -> None:
            with suppress(ConnectionError, BrokenPipeError):
                server.answer(self)

    with local_server(Answering) as port:
        server.port = port
        yield server
