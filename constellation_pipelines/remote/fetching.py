"""Blocks into a mirror: neighbours in one request, several requests at once."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from constellation_pipelines.remote.mirror import Mirror
from constellation_pipelines.remote.opening import patiently
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.remote.tiff import Numbers

GROUP_BYTES = 16 * 2**20  # blocks that are needed at about the same time, ordered by place
RANGE_BYTES = 2 * 2**20
GAP_BYTES = 32 * 2**10  # cheaper to read than to ask again for


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes from `start` up to `end`, and the blocks that lie in them."""

    start: int
    end: int
    blocks: tuple[int, ...]


def ranges_of(mirror: Mirror, blocks: Numbers) -> list[Range]:
    """Requests for these blocks, in about the order of need. Each block once."""
    found: list[Range] = []
    group: list[int] = []
    taken = 0
    for block in dict.fromkeys(int(one) for one in blocks):
        first, last = mirror.extent(block)
        group.append(block)
        taken += last - first
        if taken >= GROUP_BYTES:
            found += join(mirror, group)
            group, taken = [], 0
    return found + join(mirror, group)


def join(mirror: Mirror, group: list[int]) -> list[Range]:
    """Neighbours become one request, up to RANGE_BYTES; a larger block stays by itself."""
    found: list[Range] = []
    for block in sorted(group, key=mirror.extent):
        first, last = mirror.extent(block)
        if found:
            before = found[-1]
            near = first - before.end <= GAP_BYTES
            if near and max(last, before.end) - before.start <= RANGE_BYTES:
                end = max(last, before.end)
                found[-1] = Range(before.start, end, (*before.blocks, block))
                continue
        found.append(Range(first, last, (block,)))
    return found


class Fetcher:
    """Fetches blocks of one mirror with up to `connections` requests at once."""

    def __init__(
        self, ranges: Ranges, mirror: Mirror, *, connections: int, stop: threading.Event
    ) -> None:
        self._ranges = ranges
        self._mirror = mirror
        self._connections = connections
        self._stop = stop

    def fetch(self, blocks: Numbers, came: Callable[[int], None] = lambda _: None) -> None:
        """Fetch those of these blocks that are missing; `came` hears bytes as they are on disk.

        Raises RemoteAway or RemoteRefused once what was on its way has ended; what came is kept.
        Returns early when told to stop.
        """
        missing = blocks[~self._mirror.staged()[blocks]]
        todo = deque(ranges_of(self._mirror, missing))
        running: deque[tuple[Range, Future[None]]] = deque()
        with ThreadPoolExecutor(self._connections, "fetch") as pool:
            try:
                while (todo or running) and not self._stop.is_set():
                    while todo and len(running) < 2 * self._connections:
                        one = todo.popleft()
                        running.append((one, pool.submit(self._fetch_range, one)))
                    one, future = running.popleft()
                    future.result()
                    came(one.end - one.start)
            finally:
                for _, future in running:
                    future.cancel()

    def _fetch_range(self, one: Range) -> None:
        if self._stop.is_set():
            return
        start = one.start
        while one.end - start > RANGE_BYTES:  # one large block, part by part
            self._mirror.write(start, self._read(start, RANGE_BYTES))
            start += RANGE_BYTES
        self._mirror.store(one.blocks, start, self._read(start, one.end - start))

    def _read(self, start: int, length: int) -> bytes:
        if length == 0:  # a block beyond the end of a file that was cut off
            return b""
        content = self._mirror.content
        return patiently(
            lambda: self._ranges.read(content.url, start, length, content.version), self._stop
        )
