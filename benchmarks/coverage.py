"""The coverage map over HTTP on ten million tiles of several accounts, at every zoom.

Scenes of 1,764 tiles lie around a hundred places of the globe, on a grid, a fifth of them upon each
other at ten of its cells, as time series do. Of each zoom the map tiles with most of an account's
tiles are asked for, and others by chance. The server has a process of its own; PostgreSQL, server
and client share this machine.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx

from benchmarks.api.server import serving
from benchmarks.measurement import Bar, Measurement, percentile
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.model import Model
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from constellation_pipelines.store import map_tiles
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.map_tiles import MOST_BYTES, MapTile
from constellation_pipelines.store.tenancy import EVERYONE, Tenancy
from tests.api.people import make_key
from tests.api.service import MODEL, save_model

TILES = int(os.environ.get("BENCH_COVERAGE_TILES", "10000000"))
OF_SCENE = 42 * 42
ZOOMS = range(17)
DENSEST, ASKED, BY_CHANCE = 5, 6, 30  # map tiles, how often each; others, once
TIME_BAR_MS = 50.0
ALL = "everybody"  # an admin
FEW = "few"  # an account with a piece of a scene where others have most
WHOSE = ("most", FEW, ALL)

# Of ten scenes six are the first account's. A scene's corner lies on a grid of 110 km.
SCENES = """
insert into constellation.scenes
       (id, key, uri, digest, grid, bands, gsd_m, footprint, area_km2, item)
select gen_random_uuid(), 'scene-' || n, 'scene-' || n, 'scene-' || n, '{}', '[]', 10,
       'MULTIPOLYGON(((0 0, 0.5 0, 1 0, 1 0.5, 1 1, 0.5 1, 0 1, 0 0.5, 0 0)))', 12000, '{}'
  from generate_series(0, %(scenes)s - 1) n
"""
JOBS = """
insert into constellation.jobs (id, name, params, state, origin, submitted_by)
select id, key, '{}', 'COMPLETED', 'api',
       case when key = 'scene-0' then 'few' else
         (array['most', 'most', 'most', 'most', 'most', 'most', 'ann', 'ann', 'ann', 'ben'])
         [1 + substr(key, 7)::int / 5 %% 10] end
  from constellation.scenes
"""
RUNS = """
insert into constellation.runs (id, job_id, account, scene_id, model_id, state, metrics)
select j.id, j.id, j.submitted_by, j.id, m.id, 'COMPLETED',
       jsonb_build_object('n', substr(j.name, 7)::int, 'west_m', p.col * 110000,
                          'south_m', p.line * 110000)
  from constellation.jobs j, constellation.models m,
       lateral (select substr(j.name, 7)::int as n) n,
       lateral (select case when n %% 5 = 0 then n / 5 %% 10 else n %% 100 end as place,
                       case when n %% 5 = 0 then 0 else 1 end as spread) s,
       lateral (select (hashtext('e' || place) %% 160)
                         + spread * ((hashtext('a' || n) %% 5) + (hashtext('b' || n) %% 5)) as col,
                       20 + (hashtext('n' || place) %% 60)
                         + spread * ((hashtext('c' || n) %% 5) + (hashtext('d' || n) %% 5)) as line
               ) p
"""
FILL = """
insert into constellation.tiles (id, digest, scene_id, model_id, run_id, job_id, account,
       row_off_px, col_off_px, height_px, width_px, state, footprint, geom_3857, area_km2,
       class_counts, top_class, confidence, valid_fraction, read_ms, infer_ms, created_at)
select (lpad(to_hex(r.n), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(t), 12, '0'))::uuid,
       lpad(r.n::text, 32, '0') || lpad(t::text, 32, '0'), r.scene_id, r.model_id, r.id, r.job_id,
       r.account, t / 42 * 256, t %% 42 * 256, 256, 256, 'COMPLETED', r.footprint,
       st_multi(st_segmentize(
         st_makeenvelope(west_m + t %% 42 * 2614, south_m + t / 42 * 2614,
                         west_m + t %% 42 * 2614 + 2614, south_m + t / 42 * 2614 + 2614, 3857),
         1400)),
       6.55, '{"0": 70, "1": 20, "2": 10}', hashtext(r.n || 'x' || t / 7) & 3,
       0.5 + (t %% 500) / 1e3, 1, 1, 1,
       '2026-01-01'::timestamptz + r.n * interval '1 minute' + t * interval '10 ms'
  from (select r.*, s.footprint, (metrics -> 'n')::int as n,
               (metrics -> 'west_m')::float8 as west_m, (metrics -> 'south_m')::float8 as south_m
          from constellation.runs r join constellation.scenes s on s.id = r.scene_id) r,
       generate_series(0, case when r.account = 'few' then 499 else %(of_scene)s - 1 end) t
 where r.n >= %(first)s and r.n < %(first)s + 200
"""
INDEXES = """
select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
  from pg_index where indrelid = 'constellation.tiles'::regclass
   and not exists (select 1 from pg_constraint where conindid = indexrelid)
"""
MAP_INDEX = "tiles_on_map"

# Which squares of zoom 7 hold most: `of` squares along each side of the map at that zoom.
PLACES = """
with found as (
  select (x * 64 + (square & 63)) >> (13 - %(z)s) as x,
         (y * 64 + (square >> 6)) >> (13 - %(z)s) as y, sum(tiles) as tiles
    from constellation.coverage_cells where z = 7 and model_id = %(model_id)s group by 1, 2)
(select x, y, tiles::int from found order by tiles desc, x, y limit %(densest)s)
 union all
(select x, y, tiles::int from found order by md5(x || 'x' || y) limit %(by_chance)s)
"""
RAW = """
select count(*)::int as n from constellation.squares_on_map(
  %(model_id)s, st_tileenvelope(0, 0, 0), 64)
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the map tiles of a zoom took, over HTTP and as bare SQL, and their bytes."""

    http_ms: list[float]
    sql_ms: list[float]
    sizes: list[int]
    most_tiles: int

    @property
    def ratio(self) -> float:
        """How much longer HTTP takes: the median over map tiles."""
        return median(h / s for h, s in zip(self.http_ms, self.sql_ms, strict=True))


def run() -> list[Measurement]:
    """Make the tiles, which takes minutes and 1 kB each, then ask for places among them."""
    with prepared() as (url, folder):
        database = Database(url)
        model = save_model(database)
        fill(database)
        keys = {
            who: make_key(database, who, Scope.ADMIN if who == ALL else Scope.VIEWER).text
            for who in WHOSE
        }
        environment = {
            "CONSTELLATION_DATABASE_URL": url,
            "CONSTELLATION_DATA_DIR": str(folder),
            "CONSTELLATION_AUTH": "required",
            "CONSTELLATION_RATE_READS_PER_S": "100000",
        }
        core = min(os.sched_getaffinity(0))
        with serving("api", environment, core) as server:
            found = [*measured(server.url, database, model, keys)]
        found.append(raw(database, model))
        database.close()
        return found


@contextmanager
def prepared() -> Iterator[tuple[str, Path]]:
    """An empty database, and a folder for the server."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "postgres", fsync=False)
        try:
            with postgres:
                prepare_database(postgres.url)
                yield postgres.url, folder
        finally:
            postgres.remove()


def fill(database: Database) -> None:
    """Tiles without triggers, then the cells by a recount, as a migration makes them."""
    scenes = max(2, round(TILES / OF_SCENE))
    with database.transaction() as connection:
        for statement in (SCENES, JOBS, RUNS):
            connection.execute(statement, {"scenes": scenes})
        for index in connection.execute(INDEXES).fetchall():
            connection.execute(f"drop index {index['name']}")
            if index["name"].endswith(MAP_INDEX):
                of_map = index["definition"]
        connection.execute("alter table constellation.tiles set (autovacuum_enabled = off)")
    began = time.perf_counter()
    for first in range(0, scenes, 200):
        with database.transaction() as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(FILL, {"first": first, "of_scene": OF_SCENE})
            connection.execute("set session_replication_role = origin")
    said("tiles", began)
    for name, statement in (
        ("the index of tiles by place", of_map),
        ("the cells", "select constellation.recount_coverage()"),
        (
            "statistics",
            "analyze constellation.tiles (model_id, account), constellation.coverage_cells",
        ),
    ):
        began = time.perf_counter()
        with database.transaction() as connection:
            connection.execute("set local maintenance_work_mem = '1GB'")
            connection.execute("set local work_mem = '256MB'")
            connection.execute(statement)
        said(name, began)


def said(what: str, began: float) -> None:
    """Tell how long a step took."""
    print(f"{what}: {time.perf_counter() - began:.0f} s", flush=True)


def measured(
    url: str, database: Database, model: Model, keys: dict[str, str]
) -> Iterator[Measurement]:
    """The figures of each zoom, of each account."""
    where = {"tiles": TILES, "accounts": 4, "map_tiles": DENSEST * ASKED + BY_CHANCE}
    for who in WHOSE:
        headers = {"Authorization": f"Bearer {keys[who]}"}
        seen = database.bound(EVERYONE if who == ALL else Tenancy(who))
        with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=60) as http:
            figures = {z: ask(http, seen, model, z) for z in ZOOMS}
            yield from reported(who, figures, where | {"account": who})
            yield from others(http, who, where | {"account": who})


def ask(http: httpx.Client, seen: Database, model: Model, z: int) -> Figures:
    """Ask for map tiles of a zoom, each beside the same by SQL alone."""
    random = Random(z)
    names = {one.value: one.name for one in model.card.classes}
    found = Figures([], [], [], 0)
    rows = seen.fetch_all(
        PLACES,
        {"z": min(z, 13), "model_id": model.id, "densest": DENSEST, "by_chance": BY_CHANCE},
    )
    for number, row in enumerate(rows):
        place = deeper(MapTile(min(z, 13), row["x"], row["y"]), z, random)
        for _ in range(ASKED if number < DENSEST else 1):
            began = time.perf_counter()
            answer = http.get(f"/coverage/{MODEL}/{place.z}/{place.x}/{place.y}")
            found.http_ms.append(1e3 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text
            found.sizes.append(len(answer.content))
            began = time.perf_counter()
            with seen.transaction() as connection:
                drawn = map_tiles.draw(connection, model.id, place, names)
            found.sql_ms.append(1e3 * (time.perf_counter() - began))
            assert drawn == answer.content
    return Figures(found.http_ms, found.sql_ms, found.sizes, max(row["tiles"] for row in rows))


def deeper(place: MapTile, z: int, random: Random) -> MapTile:
    """A map tile of zoom z within another one."""
    zooms = z - place.z
    x, y = (random.randrange(1 << zooms) for _ in range(2))
    return MapTile(z, (place.x << zooms) + x, (place.y << zooms) + y)


def reported(who: str, figures: dict[int, Figures], where: dict[str, Any]) -> Iterator[Measurement]:
    """The figures of an account: the worst zoom, and for the one with most every zoom."""
    worst = max(figures, key=lambda z: percentile(figures[z].http_ms, 95))
    for z in figures if who == WHOSE[0] else [worst]:
        one = figures[z]
        name = f"map tile, zoom {z}" if who == WHOSE[0] else f"map tile, slowest zoom, {who}"
        about = where | {
            "zoom": z,
            "p50_ms": round(percentile(one.http_ms, 50), 2),
            "max_ms": round(max(one.http_ms), 2),
            "sql_p50_ms": round(percentile(one.sql_ms, 50), 2),
            "http_to_sql": round(one.ratio, 2),
            "bytes_p50": round(percentile(one.sizes, 50)),
            "bytes_max": max(one.sizes),
            "most_tiles_in_a_map_tile": one.most_tiles,
        }
        p95 = percentile(one.http_ms, 95)
        limit = percentile(one.sql_ms, 95)
        bar = Bar(TIME_BAR_MS, True)
        yield Measurement(f"{name}, p95", p95, "ms", bar, limit=limit, conditions=about)
    largest = max(max(one.sizes) for one in figures.values())
    bar = Bar(MOST_BYTES / 1e3, True)
    yield Measurement(f"largest map tile, {who}", largest / 1e3, "kB", bar, conditions=where)


def others(http: httpx.Client, who: str, where: dict[str, Any]) -> Iterator[Measurement]:
    """What else a map asks for."""
    place = f"/coverage/{MODEL}/0/0/0"
    tag = {"If-None-Match": http.get(place).headers["etag"]}
    asked: tuple[tuple[str, str, dict[str, str], int], ...] = (
        ("GET /coverage", "/coverage", {}, 200),
        ("TileJSON", f"/coverage/{MODEL}", {}, 200),
        ("a map tile that has not changed (304)", place, tag, 304),
    )
    for name, path, headers, status in asked:
        times_ms = []
        for _ in range(30):
            began = time.perf_counter()
            assert http.get(path, headers=headers).status_code == status
            times_ms.append(1e3 * (time.perf_counter() - began))
        p95 = percentile(times_ms, 95)
        bar = Bar(TIME_BAR_MS, True)
        yield Measurement(f"{name}, p95, {who}", p95, "ms", bar, conditions=where)


def raw(database: Database, model: Model) -> Measurement:
    """What the cells save: zoom 0 counted from all tiles, beside the same from the cells."""
    began = time.perf_counter()
    database.fetch_one(RAW, {"model_id": model.id})
    raw_ms = 1e3 * (time.perf_counter() - began)
    times_ms = []
    for _ in range(10):
        began = time.perf_counter()
        with database.transaction() as connection:
            map_tiles.draw(connection, model.id, MapTile(0, 0, 0), {})
        times_ms.append(1e3 * (time.perf_counter() - began))
    where = {"tiles": TILES, "from_tiles_ms": round(raw_ms)}
    return Measurement("zoom 0 from cells, p50", median(times_ms), "ms", None, raw_ms, None, where)
