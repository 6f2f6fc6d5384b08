"""Requests to places that others name: to the address that was checked, within one deadline."""

import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore

from constellation_pipelines.domain.address import is_public
from constellation_pipelines.remote.addresses import CheckedBackend, looked_up
from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused


class NotReached(Exception):
    """The receiver was not reached, or may not be; the message holds no secret."""


class Outside(CheckedBackend):
    """Connections to receivers. `private` are hosts that the operator allows although they are
    private, and `setting` is where. Everything ends at `deadline`, of the monotonic clock.
    """

    def __init__(self, private: frozenset[str], deadline: float, setting: str) -> None:
        super().__init__(private)
        self._deadline = deadline
        self._setting = setting

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers."""
        stream = super().connect_tcp(host, port, timeout, local_address, socket_options)
        return Hurried(stream, self._deadline)

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host. Raises NotReached when one is private and not allowed."""
        found = looked_up(host, port)
        if host not in self._private and not all(is_public(text) for text in found):
            raise NotReached(
                f"host {host} has an address of a private network; the operator can allow it in "
                f"{self._setting}"
            )
        return found

    def within_s(self, timeout: float | None) -> float:
        """What is left until the deadline."""
        return left_of(self._deadline)


class Hurried(httpcore.NetworkStream):
    """A stream that ends at a deadline, however slowly the other side sends."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Bytes, or none at the end."""
        return self._stream.read(max_bytes, left_of(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes."""
        self._stream.write(buffer, left_of(self._deadline))

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """The same over TLS."""
        left_s = left_of(self._deadline)
        return Hurried(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """What is known of the connection."""
        return self._stream.get_extra_info(info)


def left_of(deadline: float) -> float:
    """Seconds until a deadline. Raises NotReached when there are none."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise NotReached("it did not answer in time")
    return left_s


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    private: frozenset[str],
    setting: str,
    timeout_s: float,
    max_bytes: int = 0,
) -> tuple[int, bytes]:
    """Ask once, following nothing; the status, and the body where `max_bytes` of it are wanted.

    Raises NotReached, also for a body that is longer.
    """
    backend = Outside(private, time.monotonic() + timeout_s, setting)
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=ssl.create_default_context(), network_backend=backend, retries=0
            ) as pool,
            pool.stream(method, url, headers=list(headers.items()), content=body) as response,
        ):
            return int(response.status), read(response, max_bytes) if max_bytes else b""
    except NotReached:
        raise
    except (RemoteAway, RemoteRefused) as error:
        raise NotReached(error.message) from error
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise NotReached("it did not answer in time") from error
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        OSError,
    ) as error:
        raise NotReached(f"it could not be reached: {type(error).__name__}") from error


def read(response: httpcore.Response, max_bytes: int) -> bytes:
    """The body. Raises NotReached for one that is longer than it may be."""
    text = b""
    for part in response.iter_stream():
        text += part
        if len(text) > max_bytes:
            raise NotReached("its answer is too long")
    return text
