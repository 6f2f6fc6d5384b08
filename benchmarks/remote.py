"""Pixels of a remote scene: bytes fetched over bytes needed, and many requests over one by one.

The server runs in this process and waits 50 ms before each answer, as a store some way off does.
"""

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.measurement import Measurement
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.remote import fetching, mirror
from constellation_pipelines.remote.fetching import Fetcher
from constellation_pipelines.remote.hosts import Allowed
from constellation_pipelines.remote.mirror import Mirror
from constellation_pipelines.remote.needs import Needs
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.remote.scenes import Description, describe_remote
from constellation_pipelines.remote.tiff import Numbers
from tests.remote.range_server import RangeServer, serving
from tests.remote.rasters import write_cog

SIDE_PX = 3072
BLOCK_PX = 256
LATENCY_S = 0.05
ROUNDS = 3
CONNECTIONS = 8


class Bench:
    """A COG behind a slow server, and mirrors of it that are empty each time."""

    def __init__(self, server: RangeServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.allowed = Allowed.of([server.origin], ["127.0.0.1"])
        self.url = server.url("/scene.tif")

    @contextmanager
    def empty(self) -> Iterator[tuple[Ranges, Scene, Mirror]]:
        """A mirror without blocks."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with Ranges(self.allowed, connections=CONNECTIONS) as ranges:
            scene = describe_remote(ranges, self.url, self.folder, Description())
            found = mirror.find(self.folder, scene.uri, scene.digest)
            assert found is not None
            yield ranges, scene, found

    def fetch_s(self, connections: int, share: float = 1.0) -> tuple[float, int, int, int]:
        """Seconds for a share of the tiles; bytes sent, bytes needed, requests."""
        with self.empty() as (ranges, scene, found):
            windows = tile_windows(scene.grid, 64)
            blocks: Numbers = Needs(found, scene.grid, scene.grid, 0).of_all(
                windows[: max(1, int(len(windows) * share))]
            )
            sent, asked = self.server.sent_bytes, len(self.server.asked)
            fetcher = Fetcher(ranges, found, connections=connections, stop=threading.Event())
            began = time.perf_counter()
            fetcher.fetch(blocks)
            spent_s = time.perf_counter() - began
            needed = int(found.counts[blocks].sum())
            return (
                spent_s,
                self.server.sent_bytes - sent,
                needed,
                len(self.server.asked) - asked,
            )

    def one_by_one_s(self) -> float:
        """Seconds for the same with a request for each block, as a plain reader asks."""
        with self.empty() as (ranges, _, found):
            began = time.perf_counter()
            for block in np.argsort(found.offsets):
                start, end = found.extent(int(block))
                data = ranges.read(self.url, start, end - start, found.content.version)
                found.store([int(block)], start, data)
            return time.perf_counter() - began


def run() -> list[Measurement]:
    """Measure; rounds in turns, medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_cog(folder / "scene.tif", side_px=SIDE_PX, block_px=BLOCK_PX).read_bytes()
        with serving(**{"scene.tif": data}) as server:
            server.latency_s = LATENCY_S
            return measure(Bench(server, folder / "staging"), len(data))


def measure(bench: Bench, size: int) -> list[Measurement]:
    """The figures."""
    with bench.empty():
        header = bench.server.sent_bytes
        header_requests = len(bench.server.asked)
    many, one, single = [], [], []
    for _ in range(ROUNDS):
        many.append(bench.fetch_s(CONNECTIONS))
        one.append(bench.fetch_s(1))
        single.append(bench.one_by_one_s())
    quarter = bench.fetch_s(CONNECTIONS, 0.25)
    many_s = statistics.median(spent for spent, *_ in many)
    one_s = statistics.median(spent for spent, *_ in one)
    single_s = statistics.median(single)
    where = {
        "latency_ms": 1000 * LATENCY_S,
        "connections": CONNECTIONS,
        "file_mb": round(size / 1e6, 1),
        "range_mb": fetching.RANGE_BYTES / 2**20,
    }
    figures = [
        ("registration, bytes", header / 1000, "kB"),
        ("registration, requests", header_requests, "requests"),
        ("whole scene, requests", many[0][3], "requests"),
        ("whole scene, fetched / needed", many[0][1] / many[0][2], "x"),
        ("first quarter, fetched / needed", quarter[1] / quarter[2], "x"),
        ("whole scene, 8 connections", many_s, "s"),
        ("whole scene, 1 connection", one_s, "s"),
        ("block by block, 1 connection", single_s, "s"),
        ("1 connection / 8 connections", one_s / many_s, "x"),
        ("block by block / 8 connections", single_s / many_s, "x"),
    ]
    return [Measurement(name, value, unit, conditions=where) for name, value, unit in figures]
