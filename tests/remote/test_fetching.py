"""Neighbours come in one request, several requests at once, and each error where it belongs."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from constellation_pipelines.remote import fetching
from constellation_pipelines.remote.errors import RemoteAway, RemoteRefused
from constellation_pipelines.remote.fetching import GAP_BYTES, RANGE_BYTES, Fetcher, ranges_of
from constellation_pipelines.remote.opening import FIRST_PAUSE_S, patiently
from constellation_pipelines.remote.tiff import Numbers
from tests.remote.range_server import Asked, Handler, reply, serving
from tests.remote.rasters import write, write_cog
from tests.remote.test_mirror import Far


class Table:
    """Block extents without a file."""

    def __init__(self, *extents: tuple[int, int]) -> None:
        self._extents = extents

    def extent(self, block: int) -> tuple[int, int]:
        return self._extents[block]


def requests(*extents: tuple[int, int], order: list[int] | None = None) -> list[tuple[int, int]]:
    blocks = np.array(range(len(extents)) if order is None else order, np.int64)
    return [(one.start, one.end) for one in ranges_of(Table(*extents), blocks)]  # type: ignore[arg-type]


def test_neighbours_are_joined_over_small_gaps() -> None:
    assert requests((0, 10), (10, 20), (30, 40)) == [(0, 40)]
    far = 40 + GAP_BYTES + 1
    assert requests((0, 40), (far, far + 10)) == [(0, 40), (far, far + 10)]


def test_requests_are_bounded_and_a_larger_block_stays_by_itself() -> None:
    half = RANGE_BYTES // 2
    assert requests((0, half), (half, 2 * half), (2 * half, 3 * half)) == [
        (0, 2 * half),
        (2 * half, 3 * half),
    ]
    large = 3 * RANGE_BYTES
    assert requests((0, 10), (10, large), (large, large + 5)) == [
        (0, 10),
        (10, large),
        (large, large + 5),
    ]


def test_each_block_is_asked_for_once_in_the_order_of_the_file() -> None:
    far = 10 * RANGE_BYTES
    assert requests((far, far + 5), (0, 5), (5, 9), order=[0, 2, 1, 0, 2]) == [
        (0, 9),
        (far, far + 5),
    ]


def test_blocks_of_one_place_are_one_request() -> None:
    assert requests((5, 9), (5, 9), (5, 7)) == [(5, 9)]


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """1.4 MB of random pixels in 256 x 256 tiles."""
    file = write(tmp_path / "a.tif", "uncompressed", side_px=700)
    with serving(**{"a.tif": file.read_bytes()}) as server:
        opened = Far(file, tmp_path / "staging", server)
        with opened.ranges:
            yield opened


def every(far: Far) -> Numbers:
    return np.arange(len(far.mirror.offsets), dtype=np.int64)


def fetch(far: Far, *, connections: int = 4, stop: threading.Event | None = None) -> list[int]:
    came: list[int] = []
    fetcher = Fetcher(
        far.ranges, far.mirror, connections=connections, stop=stop or threading.Event()
    )
    fetcher.fetch(every(far), came.append)
    return came


def test_requests_run_at_once(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "RANGE_BYTES", 100_000)
    far.server.latency_s = 0.05
    came = fetch(far)
    assert sum(came) >= int(far.mirror.counts.sum())
    assert far.server.most_at_once == 4
    assert len({asked.connection for asked in far.server.asked}) <= 4 + 1


def test_a_block_larger_than_a_request_comes_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RANGE_BYTES", 100_000)
    file = write(tmp_path / "a.tif", "one block", compress="none")
    with serving(**{"a.tif": file.read_bytes()}) as server:
        far = Far(file, tmp_path / "staging", server)
        with far.ranges:
            fetch(far)
            assert len(server.asked) > 10
            assert all(far.same(window) for window in far.windows)


def test_what_is_there_is_not_fetched_again(far: Far) -> None:
    fetch(far)
    before = len(far.server.asked)
    assert fetch(far) == []
    assert len(far.server.asked) == before


class Moody:
    """Answers 503 to so many requests, and is then well again."""

    def __init__(self, times: int, **headers: str) -> None:
        self.left = times
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def __call__(self, handler: Handler, asked: Asked) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        reply(handler, 503, self.headers)
        return True


def test_a_host_that_hiccups_is_asked_again(far: Far) -> None:
    far.server.fault = Moody(2)
    fetch(far)
    assert far.mirror.staged().all()


def test_a_host_that_stays_away_is_an_error_and_what_came_is_kept(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RANGE_BYTES", 100_000)
    served = []

    def after_three(handler: Handler, asked: Asked) -> bool:
        served.append(asked)
        if len(served) > 3:
            reply(handler, 503, {"Retry-After": "60"})
            return True
        return False

    far.server.fault = after_three
    with pytest.raises(RemoteAway, match="answers 503") as raised:
        fetch(far, connections=1)
    assert raised.value.retry_after_s == 60
    kept = far.mirror.staged().sum()
    assert 0 < kept < len(far.mirror.offsets)
    far.server.fault = None
    asked = len(far.server.asked)
    fetch(far)
    assert far.mirror.staged().all()
    again = [one.span for one in far.server.asked[asked:]]
    assert sum(last - first + 1 for first, last in again) < far.mirror.size


def test_a_host_that_asks_for_long_is_left_alone_at_once(far: Far) -> None:
    far.server.fault = Moody(100, Retry_After="30")
    before = len(far.server.asked)
    with pytest.raises(RemoteAway):
        fetch(far, connections=1)
    assert len(far.server.asked) - before <= 2


class Clock(threading.Event):
    """Notes how long somebody waits, and does not let him."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return False


def test_it_asks_ever_later_and_never_in_step(far: Far) -> None:
    url = far.server.url("/a.tif")
    far.server.fault = Moody(1000)
    seen = []
    for _ in range(20):
        clock = Clock()
        with pytest.raises(RemoteAway):
            patiently(lambda: far.ranges.first(url), clock, tries=5)
        for attempt, pause_s in enumerate(clock.waits):
            assert 0.5 <= pause_s / (FIRST_PAUSE_S * 2**attempt) <= 1.5
        assert len(clock.waits) == 4
        seen.append(tuple(clock.waits))
    assert len(set(seen)) == len(seen)
    far.server.fault = Moody(1, Retry_After="3")
    clock = Clock()
    patiently(lambda: far.ranges.first(url), clock)
    assert clock.waits == [3.0], "a host that names a time is believed"


def test_an_object_that_changes_meanwhile_is_refused(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RANGE_BYTES", 100_000)
    served = []

    def change(handler: Handler, asked: Asked) -> bool:
        served.append(asked)
        if len(served) == 3:
            far.server.objects["/a.tif"] = far.server.objects["/a.tif"][::-1]
        return False

    far.server.fault = change
    with pytest.raises(RemoteRefused, match="has changed since it was registered"):
        fetch(far, connections=1)
    assert not far.mirror.staged().all()


def test_it_stops_when_told(far: Far) -> None:
    stop = threading.Event()
    far.server.fault = Moody(10_000)
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(RemoteAway):
        fetch(far, stop=stop)
    assert time.monotonic() - began < 30


def test_a_cog_comes_in_few_requests(tmp_path: Path) -> None:
    file = write_cog(tmp_path / "a.tif", mask=True)
    with serving(**{"a.tif": file.read_bytes()}) as server:
        far = Far(file, tmp_path / "staging", server)
        with far.ranges:
            before = len(server.asked)
            fetch(far)
            assert len(server.asked) - before == 1
