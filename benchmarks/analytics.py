"""Analytics over HTTP on ten million tiles: a thousand scenes, each with the file of its run.

The files have the columns, types and row groups of the project's own, and are written by DuckDB
because it does so in seconds. The server, PostgreSQL and the client share this machine.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from benchmarks.measurement import Bar, Measurement, percentile
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.lake.files import files_of_run
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from tests.api.results import GRID, JOB, RUN, SCENE, box
from tests.api.service import MODEL, Service, save_model, serving
from tests.lake.results import START

SCENES = 1_000
SIDE = 100  # tiles along each side of a scene
SCENE_DEG = 2.0
ROUNDS = 60

TILES = f"""
create table tiles as
select n::varchar as digest, (n // {SIDE} * 512)::int as row_off_px,
       (n % {SIDE} * 512)::int as col_off_px, 512::int as height_px, 512::int as width_px,
       'COMPLETED' as state, 25.0::double as area_km2,
       make_timestamptz($start + n * 1000) as created_at, random() as confidence,
       1.0::double as valid_fraction,
       '{{"' || (n % 10) || '":' || (1 + n % 40) || ',"' || (10 + n % 7) || '":'
         || (1 + n % 20) || '}}' as class_counts
  from range({SIDE * SIDE}) r(n)
"""

FILE = f"""
copy (
  select *, '{{run}}' as run_id, '{{scene}}' as scene,
         {{{{'xmin': {{west}} + col_off_px / 512 * {SCENE_DEG / SIDE},
           'ymin': {{south}} + row_off_px / 512 * {SCENE_DEG / SIDE},
           'xmax': {{west}} + (col_off_px / 512 + 1) * {SCENE_DEG / SIDE},
           'ymax': {{south}} + (row_off_px / 512 + 1) * {SCENE_DEG / SIDE}}}}} as bbox,
         st_geomfromwkb('\\x01\\x06\\x00\\x00\\x00\\x00\\x00\\x00\\x00'::blob) as geometry
    from tiles
) to '{{path}}' (format parquet, compression zstd)
"""


def run() -> list[Measurement]:
    """Make the results, then ask for places in them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres", fsync=False) as server:
            prepare_database(server.url)
            with serving(server.url, None, folder, rate_reads_per_s=100_000) as service:
                save_model(service.database)
                fill(service, folder / "lake")
                return measured(service)


def fill(service: Service, lake: Path) -> None:
    """A job and a file for each scene."""
    import duckdb

    with duckdb.connect() as made, service.database.transaction() as connection:
        made.execute(TILES, {"start": int(START.timestamp() * 1e6)})
        for number in range(SCENES):
            west, south = corner(number)
            run, args = rows_of(number, box(west, south, west + SCENE_DEG, south + SCENE_DEG))
            for statement in (SCENE, JOB, RUN):
                connection.execute(statement, args)
            day = START.date().isoformat()
            path = files_of_run(lake, run_id=str(run), model=MODEL, date=day).predictions
            path.parent.mkdir(parents=True, exist_ok=True)
            made.execute(FILE.format(run=run, scene=args["key"], west=west, south=south, path=path))


def corner(number: int) -> tuple[float, float]:
    """West and south of a scene; scenes lie side by side."""
    return -100 + number % 50 * SCENE_DEG, -20 + number // 50 * SCENE_DEG


def rows_of(number: int, place: str) -> tuple[UUID, dict[str, Any]]:
    """The id of a scene's run, and the values of its rows."""
    run = new_id()
    args = {"id": new_id(), "key": f"scene-{number}", "place": place, "grid": Jsonb(asdict(GRID))}
    args |= {"job": new_id(), "run": run, "account": "local", "scene": args["key"]}
    return run, args | {"reused": 0, "state": "COMPLETED", "at": START, "end": START}


def measured(service: Service) -> list[Measurement]:
    """Times of small boxes, and of boxes over many scenes."""
    random = Random(5)
    where = {"rows": SCENES * SIDE * SIDE, "files": SCENES, "rounds": ROUNDS}
    found = []
    for name, size_deg, bar in (("0.2 degree", 0.2, Bar(50.0, True)), ("10 degree", 10.0, None)):

        def place(size: float = size_deg) -> str:
            west, south = random.uniform(-100, -size), random.uniform(-20, 20 - size)
            return f"{west},{south},{west + size},{south + size}"

        times_ms, tiles = ask(service, place, ROUNDS if bar else 5)
        for percent in (50, 95):
            value = percentile(times_ms, percent)
            about = where | {"tiles_counted": tiles}
            metric = f"classes in a {name} box, p{percent}"
            found.append(Measurement(metric, value, "ms", bar, conditions=about))
    times_ms, tiles = ask(service, lambda: None, 5)
    about = where | {"tiles_counted": tiles}
    value = percentile(times_ms, 50)
    found.append(Measurement("classes of all tiles, p50", value, "ms", conditions=about))
    return found


def ask(service: Service, place: Callable[[], str | None], rounds: int) -> tuple[list[float], int]:
    """How long each answer took, and how many tiles the last one counted."""
    times_ms, tiles = [], 0
    for _ in range(rounds):
        began = time.perf_counter()
        box = place()
        params = {"model": MODEL} | ({} if box is None else {"bbox": box})
        answer = service.http.get("/analytics/classes", params=params)
        times_ms.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, answer.text
        tiles = answer.json()["total"]["tiles"]
        assert tiles > 0
    return times_ms, tiles
