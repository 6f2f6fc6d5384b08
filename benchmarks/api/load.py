"""A load generator that costs little: keep-alive connections that send bytes made beforehand."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load: seconds of each answered request, and for how long it went on."""

    times_s: list[float]
    took_s: float
    refused: int

    @property
    def per_s(self) -> float:
        """Requests answered a second."""
        return len(self.times_s) / self.took_s


def request_bytes(url: str, method: str, path: str, body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def flood(url: str, request: bytes, *, connections: int, seconds: float) -> Load:
    """As many requests as the server answers, each connection one after the other."""
    ends_at = time.perf_counter() + seconds

    async def work() -> tuple[list[float], int]:
        times, refused = [], 0
        reader, writer = await opened(url)
        while (began := time.perf_counter()) < ends_at:
            refused += not await ask(reader, writer, request)
            times.append(time.perf_counter() - began)
        writer.close()
        return times, refused

    began = time.perf_counter()
    done = await asyncio.gather(*(work() for _ in range(connections)))
    took_s = time.perf_counter() - began
    return Load([t for times, _ in done for t in times], took_s, sum(n for _, n in done))


async def pace(url: str, request: bytes, *, per_s: float, connections: int, seconds: float) -> Load:
    """Requests at a steady rate. A request's time begins when it is due, whoever is late."""
    count = int(per_s * seconds)
    start = time.perf_counter() + 0.1
    due = iter([start + n / per_s for n in range(count)])

    async def work() -> tuple[list[float], int]:
        times, refused = [], 0
        reader, writer = await opened(url)
        for at in due:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            refused += not await ask(reader, writer, request)
            times.append(time.perf_counter() - at)
        writer.close()
        return times, refused

    done = await asyncio.gather(*(work() for _ in range(connections)))
    took_s = time.perf_counter() - start
    return Load([t for times, _ in done for t in times], took_s, sum(n for _, n in done))


async def opened(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the server."""
    place = urlsplit(url)
    return await asyncio.open_connection(place.hostname, place.port, limit=1 << 22)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
    """Send a request and read its answer; whether it was a 2xx."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    at = lower.index(b"content-length:") + 15
    await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
    return head[9:10] == b"2"
