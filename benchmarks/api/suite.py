"""What is measured, in one run: the API, its peer and its limit, on the same core in turns.

The server has a core to itself; the load, Postgres and NATS share the others. The peer is a FastAPI
route that does nothing; the limit is the same statement over asyncpg, in the server's place.
Postgres commits to disk.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.api import filling
from benchmarks.api.load import Load, flood, pace, request_bytes
from benchmarks.api.near import Near, near_figures
from benchmarks.api.peer import FOLDER, HERE, raw_rates
from benchmarks.api.server import Server, serving
from benchmarks.environment import prepare as prepare_environment
from benchmarks.measurement import Bar, Measurement, percentile
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from constellation_pipelines.store.database import Database
from tests.api.service import MODEL, save_model, write_raster

CONNECTIONS = 16
SECONDS = float(os.environ.get("BENCH_API_SECONDS", "10"))
TILES = int(os.environ.get("BENCH_API_TILES", filling.TILES))
LIST_BAR, SUBMIT_BAR = 800.0, 300.0  # requests a second
NEAR_BAR_MS = 20.0
JOBS, NOTHING = "/api/v1/jobs", "/healthz"


@dataclass(frozen=True, slots=True)
class Figures:
    """An operation under load: flooded, then at half its bar. `cpu_ms` is the server's own,
    `load_share` the part of its core that the load generator took meanwhile.
    """

    flood: Load
    cpu_ms: float
    load_share: float
    half: Load


def run() -> list[Measurement]:
    """Measure; a few minutes, most of them to fill the tables."""
    core, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise SystemExit("error: this benchmark needs two cores: one is the server's alone")
    prepare_environment(FOLDER, HERE / "peers.txt")
    os.sched_setaffinity(0, others)  # the servers started from here get theirs
    try:
        with services() as (url, environment):
            scene = prepare(url, environment)
            with serving("bare", {}, core) as bare:
                nothing = measured(bare, request_bytes(bare.url, "GET", NOTHING), LIST_BAR)
            with serving("api", environment, core) as server:
                listed = measured(server, request_bytes(server.url, "GET", JOBS), LIST_BAR)
                near = near_figures(server.url, url)
                body = json.dumps({"model": MODEL, "scenes": [scene]}).encode()
                submit = request_bytes(server.url, "POST", JOBS, body)
                submitted = measured(server, submit, SUBMIT_BAR)
            folder = Path(environment["CONSTELLATION_DATA_DIR"])
            raw = raw_rates(url, folder, core, connections=CONNECTIONS, seconds=SECONDS / 2)
    finally:
        os.sched_setaffinity(0, {core, *others})
    return [
        *report("GET /jobs", listed, LIST_BAR, nothing, raw["list"]),
        *report("POST /jobs", submitted, SUBMIT_BAR, nothing, raw["submit"]),
        *(part for figures in near for part in report_near(figures)),
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
    before_s, own_before_s = server.cpu_s(), time.process_time()
    flooded = asyncio.run(flood(server.url, request, connections=CONNECTIONS, seconds=SECONDS))
    cpu_ms = 1e3 * (server.cpu_s() - before_s) / len(flooded.times_s)
    load_share = (time.process_time() - own_before_s) / flooded.took_s
    half = asyncio.run(
        pace(server.url, request, per_s=bar_per_s / 2, connections=CONNECTIONS, seconds=SECONDS)
    )
    print(f"{flooded.per_s:.0f}/s, {cpu_ms:.2f} ms of processor time each", flush=True)
    return Figures(flooded, cpu_ms, load_share, half)


def report(
    name: str, of: Figures, bar: float, bare: Figures, raw: dict[str, float]
) -> list[Measurement]:
    """The figures of an operation with their bars."""
    half_ms = [1e3 * t for t in of.half.times_s]
    bare_ms = [1e3 * t for t in bare.half.times_s]
    where = {"jobs": filling.JOBS, "connections": CONNECTIONS, "server_cores": 1}
    refused = of.flood.refused + of.half.refused
    paced = where | {"per_s": bar / 2}
    return [
        Measurement(
            name, of.flood.per_s, "1/s", Bar(bar, False), bare.flood.per_s, raw["per_s"], where
        ),
        Measurement(
            f"{name}, p99 at half load",
            percentile(half_ms, 99),
            "ms",
            Bar(50, True),
            percentile(bare_ms, 99),
            conditions=paced,
        ),
        Measurement(
            f"{name}, processor time", of.cpu_ms, "ms", None, bare.cpu_ms, raw["cpu_ms"], where
        ),
        Measurement(
            f"{name}, share of its core that the load took", of.load_share, "", conditions=where
        ),
        Measurement(f"{name}, refused", refused, "requests", Bar(0, True), conditions=where),
    ]


def report_near(of: Near) -> list[Measurement]:
    """The figures of questions by place, with the bar."""
    where = {"tiles": TILES, "radius_m": of.reach.radius_m, "queries": len(of.times_s)}
    name = f"GET /jobs?near, {of.reach.name}"
    return [
        Measurement(f"{name}, p50", 1e3 * percentile(of.times_s, 50), "ms", conditions=where),
        Measurement(
            f"{name}, p95",
            1e3 * percentile(of.times_s, 95),
            "ms",
            Bar(NEAR_BAR_MS, True),
            conditions=where | {"found": of.found, "compared_with_tiles": of.compared},
        ),
    ]
