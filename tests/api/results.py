"""Completed runs with their files in the lake of a server."""

from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.lake.files import files_of_run
from constellation_pipelines.store.database import Database
from tests.api.service import MODEL
from tests.lake import results
from tests.lake.results import START, Tile

SCENE = """
insert into constellation.scenes
       (id, key, uri, digest, grid, bands, gsd_m, footprint, area_km2, item)
values (%(id)s, %(key)s, %(key)s, %(key)s, %(grid)s, '[]', 10, %(place)s, 1, '{}')
on conflict (key) do nothing
"""

JOB = """
insert into constellation.jobs (id, name, params, state, origin, submitted_by)
values (%(job)s, 'found', '{"model": "landcover@1"}', 'COMPLETED', 'api', %(account)s)
"""

RUN = """
insert into constellation.runs
       (id, job_id, account, scene_id, model_id, state, created_at, finished_at, tiles_reused)
select %(run)s, %(job)s, %(account)s, s.id, m.id, %(state)s, %(at)s, %(end)s, %(reused)s
  from constellation.scenes s, constellation.models m
 where s.key = %(scene)s and m.name || '@' || m.version = 'landcover@1'
"""


GRID = Grid("EPSG:4326", (0.1 / 512, 0, 15, 0, -0.1 / 512, 45.1), 51_200, 512, 512, 512)


def box(west: float, south: float, east: float, north: float) -> str:
    """A MultiPolygon of these bounds."""
    ring = f"{west} {south},{east} {south},{east} {north},{west} {north},{west} {south}"
    return f"SRID=4326;MULTIPOLYGON((({ring})))"


def completed(
    database: Database,
    lake: Path,
    account: str,
    tiles: list[Tile],
    *,
    scene: str = "coast",
    place: str | None = None,
    state: str = "COMPLETED",
    reused: int = 0,
) -> tuple[UUID, UUID, Path]:
    """A job of one run over a scene, by default where `tests.lake.results` puts its tiles; its id,
    the run's, and the run's file.
    """
    job, run = new_id(), new_id()
    end = max((one["created_at"] for one in tiles), default=START)
    args: dict[str, Any] = {"grid": Jsonb(asdict(GRID))}
    args |= {"id": new_id(), "key": scene, "place": place or box(15, 45, 25, 45.1)}
    args |= {"job": job, "run": run, "account": account, "scene": scene, "reused": reused}
    args |= {"state": state, "at": START, "end": end}
    with database.transaction() as connection:
        for statement in (SCENE, JOB, RUN):
            connection.execute(statement, args)
    date = START.date().isoformat()
    path = files_of_run(lake, run_id=str(run), model=MODEL, date=date).predictions
    results.write(path, run, tiles, scene)
    return job, run, path
