"""What is measured, in one run: the API, its peer and its limit, on the same core in turns.

The server has a core to itself; the load, Postgres and NATS share the others. The peer is a FastAPI
route that does nothing; the limit is the statement itself, sent by one connection. Postgres commits
to disk.
"""

import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psycopg
from psycopg.rows import dict_row

from benchmarks.api import filling
from benchmarks.api.load import Load, ask, flood, opened, pace, request_bytes
from benchmarks.api.server import Server, serving
from benchmarks.measurement import Bar, Measurement, percentile
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from constellation_pipelines.store import job_list
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.job_list import JobFilter
from tests.api.service import MODEL, save_model, write_raster

CONNECTIONS = 16
SECONDS = float(os.environ.get("BENCH_API_SECONDS", "10"))
TILES = int(os.environ.get("BENCH_API_TILES", filling.TILES))
NEAR_QUERIES = 200
LIST_BAR, SUBMIT_BAR = 800.0, 300.0  # requests a second
NEAR_RADIUS_M = 100_000
JOBS, NOTHING = "/api/v1/jobs", "/healthz"


@dataclass(frozen=True, slots=True)
class Figures:
    """An operation under load: flooded, then at half its bar. `cpu_ms` is the server's own."""

    flood: Load
    cpu_ms: float
    half: Load


def run() -> list[Measurement]:
    """Measure; a few minutes, most of them to fill the tables."""
    core, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise SystemExit("error: this benchmark needs two cores: one is the server's alone")
    os.sched_setaffinity(0, others)  # the servers started from here get theirs
    try:
        with services() as (url, environment):
            scene = prepare(url, environment)
            with serving("bare", {}, core) as bare:
                nothing = measured(bare, request_bytes(bare.url, "GET", NOTHING), LIST_BAR)
            with serving("api", environment, core) as server:
                listed = measured(server, request_bytes(server.url, "GET", JOBS), LIST_BAR)
                near = asyncio.run(near_times(server.url))
                body = json.dumps({"model": MODEL, "scenes": [scene]}).encode()
                submit = request_bytes(server.url, "POST", JOBS, body)
                submitted = measured(server, submit, SUBMIT_BAR)
            raw = raw_per_s(url)
    finally:
        os.sched_setaffinity(0, {core, *others})
    return [
        *report("GET /jobs", listed, LIST_BAR, nothing, raw["list"]),
        *report("POST /jobs", submitted, SUBMIT_BAR, nothing, raw["submit"]),
        Measurement(
            "GET /jobs?near, p95",
            1e3 * percentile(near, 95),
            "ms",
            Bar(20, True),
            conditions={"tiles": TILES, "radius_m": NEAR_RADIUS_M, "queries": len(near)},
        ),
    ]


@contextmanager
def services() -> Iterator[tuple[str, dict[str, str]]]:
    """Postgres and NATS; the database's URL and the environment of an API."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "scenes").mkdir()
        postgres = EmbeddedPostgres(folder / "postgres")
        try:
            with postgres, EmbeddedNats(folder / "nats") as nats:
                prepare_database(postgres.url)
                yield (
                    postgres.url,
                    {
                        "CONSTELLATION_DATABASE_URL": postgres.url,
                        "CONSTELLATION_NATS_URL": nats.url,
                        "CONSTELLATION_DATA_DIR": str(folder),
                        "CONSTELLATION_SCENE_ROOTS": json.dumps([str(folder / "scenes")]),
                    },
                )
        finally:
            postgres.remove()


def prepare(url: str, environment: dict[str, str]) -> str:
    """Fill the tables; the key of a scene of four tiles."""
    from constellation_pipelines.imagery.describe import describe_scene
    from constellation_pipelines.store import scenes

    database = Database(url)
    save_model(database)
    folder = Path(environment["CONSTELLATION_DATA_DIR"]) / "scenes"
    with database.transaction() as connection:
        scene = scenes.add(connection, describe_scene(write_raster(folder / "small.tif")))
    began = time.perf_counter()
    with database.transaction() as connection:
        filling.fill(connection, scene.key, MODEL, tiles=TILES)
    database.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
    return scene.key


def measured(server: Server, request: bytes, bar_per_s: float) -> Figures:
    """Warm up, flood, and pace at half the bar."""
    asyncio.run(flood(server.url, request, connections=CONNECTIONS, seconds=1))
    before_s = server.cpu_s()
    flooded = asyncio.run(flood(server.url, request, connections=CONNECTIONS, seconds=SECONDS))
    cpu_ms = 1e3 * (server.cpu_s() - before_s) / len(flooded.times_s)
    half = asyncio.run(
        pace(server.url, request, per_s=bar_per_s / 2, connections=CONNECTIONS, seconds=SECONDS)
    )
    print(f"{flooded.per_s:.0f}/s, {cpu_ms:.2f} ms of processor time each", flush=True)
    return Figures(flooded, cpu_ms, half)


async def near_times(url: str) -> list[float]:
    """Seconds of asking for the jobs near places drawn anew each time."""
    places = random.Random(7)
    reader, writer = await opened(url)
    times = []
    for _ in range(NEAR_QUERIES):
        near = f"{places.uniform(-170, 170):.3f},{places.uniform(-50, 60):.3f}"
        query = urlencode({"near": near, "radius_m": NEAR_RADIUS_M})
        began = time.perf_counter()
        if not await ask(reader, writer, request_bytes(url, "GET", f"{JOBS}?{query}")):
            raise RuntimeError(f"no answer for jobs near {near}")
        times.append(time.perf_counter() - began)
    writer.close()
    return times


def raw_per_s(url: str) -> dict[str, float]:
    """Statements a second of one connection: a page of jobs, and the rows of one."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        insert = (
            "with j as (insert into constellation.jobs (id, name, params, priority, state, origin,"
            " submitted_by) values (%s, 'raw', '{}', 0, 'PENDING', 'api', 'local') returning id)"
            " insert into constellation.events (type, job_id, account, payload)"
            " select 'job.submitted', id, 'local', '{}' from j"
        )
        return {
            "list": rate(lambda: job_list.list_page(connection, JobFilter(), limit=51)),
            "submit": rate(lambda: connection.execute(insert, (new_id(),))),
        }


def rate(work: Callable[[], object]) -> float:
    """How often a second something can be done."""
    count, ends_at = 0, time.perf_counter() + SECONDS / 2
    while time.perf_counter() < ends_at:
        work()
        count += 1
    return count / (SECONDS / 2)


def report(name: str, of: Figures, bar: float, bare: Figures, raw: float) -> list[Measurement]:
    """The figures of an operation with their bars."""
    half_ms = [1e3 * t for t in of.half.times_s]
    bare_ms = [1e3 * t for t in bare.half.times_s]
    where = {"jobs": filling.JOBS, "connections": CONNECTIONS, "server_cores": 1}
    refused = of.flood.refused + of.half.refused
    paced = where | {"per_s": bar / 2}
    return [
        Measurement(name, of.flood.per_s, "1/s", Bar(bar, False), bare.flood.per_s, raw, where),
        Measurement(
            f"{name}, p99 at half load",
            percentile(half_ms, 99),
            "ms",
            Bar(50, True),
            percentile(bare_ms, 99),
            conditions=paced,
        ),
        Measurement(f"{name}, processor time", of.cpu_ms, "ms", None, bare.cpu_ms, None, where),
        Measurement(f"{name}, refused", refused, "requests", Bar(0, True), conditions=where),
    ]
