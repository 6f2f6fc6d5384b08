"""Byte ranges over HTTP: redirects by hand, every answer checked, nothing believed."""

import email.utils
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import httpcore
import httpx

from constellation_pipelines.remote.addresses import CheckedBackend
from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused
from constellation_pipelines.remote.hosts import Allowed, Target
from constellation_pipelines.remote.signing import sign

FIRST_BYTES = 1 << 16
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
GONE = (404, 410)
FORBIDDEN = (401, 403)
FOR_NOW = (408, 425, 429)
CHANGED = (412, 416)
LONGEST_RETRY_AFTER_S = 300.0
AGENT = "constellation"
CHANGED_WORDS = (
    "has changed since it was registered; register it again, under a new key where runs refer to it"
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a host may take. Below `least_bytes_s`, after `grace_s`, it is taken for dead."""

    connect_s: float = 10.0
    read_s: float = 10.0
    grace_s: float = 30.0
    least_bytes_s: float = 16_384.0


@dataclass(frozen=True, slots=True)
class Version:
    """What an object was when it was registered. One that differs in any of it is another one."""

    size: int
    etag: str | None
    modified: str | None

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that make a server refuse to serve another version. A weak tag never matches."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return {"if-match": self.etag}
        if self.etag is None and self.modified is not None:
            return {"if-unmodified-since": self.modified}
        return {}


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer to a range request."""

    data: bytes
    version: Version


class Ranges:
    """Reads ranges of allowed URLs over a few connections that stay open. Safe between threads."""

    def __init__(
        self, allowed: Allowed, *, connections: int = 8, patience: Patience | None = None
    ) -> None:
        self._allowed = allowed
        self._patience = patience or Patience()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=CheckedBackend(allowed.private),
        )
        self.requests = 0
        self.received_bytes = 0

    def __enter__(self) -> "Ranges":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def first(self, url: str) -> Answer:
        """The object's first bytes, and which version of it there is.

        Raises RemoteRefused where trying again would not help, RemoteAway where it may.
        """
        return self._get(self._allowed.check(url), 0, FIRST_BYTES, None)

    def read(self, url: str, start: int, length: int, version: Version) -> bytes:
        """Exactly these bytes of exactly this version. Raises as `first` does."""
        return self._get(self._allowed.check(url), start, length, version).data

    def _get(self, target: Target, start: int, length: int, version: Version | None) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            wanted = {"range": f"bytes={start}-{start + length - 1}"}
            headers = {
                "host": target.authority,
                "user-agent": AGENT,
                "accept": "*/*",
                "accept-encoding": "identity",
                **wanted,
                **(version.conditions if version else {}),
                **(sign(target, self._allowed.store, wanted) if target.signed else {}),
            }
            with self._opened(target, headers) as response:
                if response.status not in REDIRECTS:
                    return self._answer(target, response, start, length, version)
                target = self._hop(target, response)
        raise RemoteRefused(f"{target.shown} redirects in a circle, or too often")

    def _hop(self, target: Target, response: httpcore.Response) -> Target:
        location = header(response, "location")
        if location is None:
            region = header(response, "x-amz-bucket-region")
            hint = f"; its bucket is in {region}: set CONSTELLATION_S3_REGION" if region else ""
            raise RemoteRefused(f"{target.shown} redirects to nowhere{hint}")
        absolute = location if ":" in location.split("/")[0] else None
        base = f"{target.scheme}://{target.authority}{target.path}"
        return self._allowed.check_hop(absolute or urljoin(base, location), target)

    @contextmanager
    def _opened(self, target: Target, headers: dict[str, str]) -> Iterator[httpcore.Response]:
        patience = self._patience
        timeouts = {
            "connect": patience.connect_s,
            "read": patience.read_s,
            "write": patience.read_s,
            "pool": 300.0,  # until one of our own connections is free
        }
        url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        self.requests += 1
        try:
            with self._pool.stream(
                "GET", url, headers=list(headers.items()), extensions={"timeout": timeouts}
            ) as response:
                yield response
        except httpcore.ConnectError as error:
            raise RemoteAway(f"{target.shown}: the host cannot be reached") from error
        except httpcore.TimeoutException as error:
            raise RemoteAway(f"{target.shown}: the host does not answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise RemoteAway(f"{target.shown}: the host broke the connection off") from error

    def _answer(
        self,
        target: Target,
        response: httpcore.Response,
        start: int,
        length: int,
        version: Version | None,
    ) -> Answer:
        refuse_status(target, response)
        first, last, size = span(target, response)
        found = Version(size, header(response, "etag"), header(response, "last-modified"))
        if version is not None and found != version:
            raise changed(target)
        if (first, last) != (start, min(start + length, size) - 1):
            raise RemoteRefused(f"{target.shown}: the server answers with another range than asked")
        data = self._body(target, response, last - first + 1)
        return Answer(data, found)

    def _body(self, target: Target, response: httpcore.Response, length: int) -> bytes:
        """The body, which must have this length. A host that drips is given up."""
        declared = header(response, "content-length")
        if declared is not None and declared != str(length):
            raise RemoteAway(
                f"{target.shown}: the server sends {declared[:20]} bytes, not {length}"
            )
        if header(response, "content-encoding") not in (None, "identity"):
            raise RemoteRefused(f"{target.shown}: the server encodes what it sends")
        data, began = bytearray(), time.monotonic()
        for chunk in response.iter_stream():
            data += chunk
            self.received_bytes += len(chunk)
            if len(data) > length:
                raise RemoteAway(f"{target.shown}: the server sends more than was asked for")
            late_s = time.monotonic() - began - self._patience.grace_s
            if late_s > 0 and len(data) < late_s * self._patience.least_bytes_s:
                raise RemoteAway(f"{target.shown}: the host sends too slowly")
        if len(data) < length:
            raise RemoteAway(f"{target.shown}: cut off after {len(data)} of {length} bytes")
        return bytes(data)


def refuse_status(target: Target, response: httpcore.Response) -> None:
    """Raise for every status but that of a range (206), and of a whole small file (200)."""
    status = response.status
    if status in (200, 206):
        return
    if status in CHANGED:
        raise changed(target)
    if status in GONE:
        raise RemoteRefused(f"{target.shown} is not there ({status})")
    if status in FORBIDDEN:
        raise RemoteRefused(f"{target.shown} may not be read ({status})")
    if status in FOR_NOW or status >= 500:
        after_s = retry_after_s(header(response, "retry-after"))
        raise RemoteAway(f"{target.shown}: the host answers {status}", retry_after_s=after_s)
    raise RemoteRefused(f"{target.shown}: the host answers {status}")


def span(target: Target, response: httpcore.Response) -> tuple[int, int, int]:
    """First and last byte of an answer, and the object's size. Raises RemoteRefused."""
    if response.status == 200:
        size = number(header(response, "content-length"))
        if size is None or not 0 < size <= FIRST_BYTES:
            raise RemoteRefused(
                f"{target.shown}: the server does not serve ranges of a file; copy the file here "
                "and register the copy"
            )
        return 0, size - 1, size
    text = header(response, "content-range") or ""
    unit, _, rest = text.partition(" ")
    part, _, total = rest.partition("/")
    begin, _, end = part.partition("-")
    first, last = number(begin), number(end)
    size = number(total)
    if unit != "bytes" or first is None or last is None or size is None or not first <= last < size:
        raise RemoteRefused(f"{target.shown}: the server's answer does not say which range it is")
    return first, last, size


def changed(target: Target) -> RemoteRefused:
    """Another version is there now."""
    return RemoteRefused(f"{target.shown} {CHANGED_WORDS}")


def header(response: httpcore.Response, name: str) -> str | None:
    """A header of an answer, if it is there and harmless."""
    for key, value in response.headers:
        if key.lower() == name.encode():
            text: str = value.decode("latin-1").strip()
            return text if text.isprintable() and len(text) <= 8192 else None
    return None


def number(text: str | None) -> int | None:
    """A count in a header."""
    return (
        int(text)
        if text is not None and text.isascii() and text.isdigit() and len(text) < 16
        else None
    )


def retry_after_s(text: str | None) -> float | None:
    """Seconds that a host asks to be left alone, from a number or a date; 300 at most."""
    if text is None:
        return None
    if (seconds := number(text)) is None:
        try:
            at: Any = email.utils.parsedate_to_datetime(text)
            seconds = int(at.timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(0.0, float(seconds)), LONGEST_RETRY_AFTER_S)
