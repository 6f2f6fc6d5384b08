"""Submission -> first tile event, beside Dagster's stock launcher and a raw Postgres claim.

Ours is timed from just before `POST /jobs` to the arrival of the first `tile.completed` frame on
the WebSocket. The peer is Dagster's stock launcher at its best - the coordinator that launches at
once, the in-process executor, Postgres storage - timed from just before the GraphQL `launchRun`
to the end of the same tile through the same weights in its asset. Both run in turns, on the same
machine, all services warm, and neither begins before the other's last process has ended. The limit
is inserting and claiming a queue row in the same Postgres.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
from websockets.sync.client import ClientConnection, connect

from benchmarks.measurement import Bar, Measurement, percentile
from benchmarks.stock.launcher import StockDagster
from constellation_pipelines.demo.scenes import generate
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack.detached import start_detached
from constellation_pipelines.stack.up import stop_stack

JOBS = 20
STOCK_RUNS = 5
WARM_UP = 3
CLAIMS = 200
TIMEOUT_S = 120.0


def run() -> list[Measurement]:
    """Measure; takes some minutes, most of them the peer's."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        data_dir = Path(folder)
        scenes = data_dir / "scenes"
        scenes.mkdir()
        scene = generate(scenes / "tile.tif", size_px=512)
        with stack(data_dir) as urls, StockDagster(data_dir, urls["database"], scene) as stock:
            ours, theirs = in_turns(urls["api"], scene, stock)
            claims = raw_claims(urls["database"])
    return report(ours, theirs, claims)


@contextmanager
def stack(data_dir: Path) -> Iterator[dict[str, str]]:
    """A stack of its own."""
    os.environ["CONSTELLATION_DATA_DIR"] = str(data_dir)
    settings = Settings()
    print("starting the stack", flush=True)
    started = start_detached(settings, lambda _: None)
    try:
        yield dict(started.urls)
    finally:
        stop_stack(settings.data_dir)


def in_turns(api_url: str, scene: Path, stock: StockDagster) -> tuple[list[float], list[float]]:
    """Seconds of each of our jobs and of each of the peer's runs, interleaved."""
    client = httpx.Client(base_url=f"{api_url}/api/v1", timeout=30)
    key = client.post("/scenes", json={"path": str(scene)}).raise_for_status().json()["key"]
    socket_url = api_url.replace("http", "ws", 1) + "/api/v1/stream"
    with connect(socket_url, open_timeout=30, max_size=None) as socket:
        for _ in range(WARM_UP):
            first_tile(client, socket, key)
        stock.run()
        ours: list[float] = []
        theirs: list[float] = []
        for turn in range(STOCK_RUNS):
            ours += [first_tile(client, socket, key) for _ in range(JOBS // STOCK_RUNS)]
            theirs.append(stock.run())
            print(f"turn {turn + 1}: ours {ours[-1]:.3f} s, stock {theirs[-1]:.3f} s", flush=True)
    return ours, theirs


def first_tile(client: httpx.Client, socket: ClientConnection, key: str) -> float:
    """Seconds from submission to the first tile's event; returns once the job has ended."""
    body = {"model": "eurosat-landcover", "scenes": [key], "reuse": False}
    began = time.perf_counter()
    job_id = client.post("/jobs", json=body).raise_for_status().json()["id"]
    took = None
    for event in heard(socket):
        if event.get("job_id") != job_id:
            continue
        if event["type"] == "tile.completed" and took is None:
            took = time.perf_counter() - began
        if event["type"] in ("job.failed", "job.cancelled"):
            raise RuntimeError(f"job {job_id}: {event}")
        if event["type"] == "job.completed":
            if took is None:
                raise RuntimeError(f"job {job_id} completed without a tile event")
            return took
    raise RuntimeError("the stream has ended")


def heard(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    """Events as they come; a frame holds several."""
    while True:
        yield from json.loads(socket.recv(timeout=TIMEOUT_S))


def raw_claims(database_url: str) -> list[float]:
    """Seconds of inserting a row and claiming it, the least a queue in Postgres can cost."""
    times = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create temporary table q (id serial primary key, taken boolean)")
        for _ in range(CLAIMS):
            began = time.perf_counter()
            connection.execute("insert into q (taken) values (false)")
            connection.execute(
                "update q set taken = true where id = (select id from q where not taken "
                "order by id for update skip locked limit 1) returning id"
            ).fetchone()
            times.append(time.perf_counter() - began)
    return times


def report(ours: list[float], theirs: list[float], claims: list[float]) -> list[Measurement]:
    """The figures with the design's bars."""
    median, peer = statistics.median(ours), statistics.median(theirs)
    limit = statistics.median(claims)
    return [
        Measurement("first tile, median", median, "s", Bar(0.15, True), peer, limit),
        Measurement(
            "first tile, p99", percentile(ours, 99), "s", Bar(0.5, True), percentile(theirs, 99)
        ),
        Measurement("first tile, fastest", min(ours), "s", None, min(theirs)),
        Measurement("stock launcher / ours", peer / median, "x", Bar(20, False)),
        Measurement("our jobs", len(ours), "jobs", None, len(theirs)),
    ]
