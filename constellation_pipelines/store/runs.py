"""Runs: one scene, one model, one Dagster run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import shapely
from psycopg.rows import DictRow

from constellation_pipelines.domain.errors import NotFound
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.job import Run
from constellation_pipelines.domain.states import RunState
from constellation_pipelines.store.database import Connection

# Of a job that is there already, or of the one that the same statement makes.
INSERT_FOR = """
insert into constellation.runs
       (id, job_id, account, scene_id, model_id, state, attempt, tiles_planned, tiles_reused,
        ground)
select run.id, job.id, job.submitted_by, run.scene_id, run.model_id, 'PENDING', run.attempt,
       run.tiles_planned, run.tiles_reused, run.ground::geometry::geography
  from {job} job
 cross join unnest(%(run_ids)s::uuid[], %(scene_ids)s::uuid[], %(model_ids)s::uuid[],
                   %(attempts)s::int[], %(tiles_planned)s::int[], %(tiles_reused)s::int[],
                   %(grounds)s::text[])
       as run (id, scene_id, model_id, attempt, tiles_planned, tiles_reused, ground)
"""

INSERT = INSERT_FOR.format(
    job="(select id, submitted_by from constellation.jobs where id = %(job_id)s)"
)

SELECT = """
select r.id, r.job_id, r.scene_id, s.key as scene_key, m.name || '@' || m.version as model,
       r.state, g.uuid as device_uuid, g.simulated, r.attempt, r.tiles_planned, r.tiles_reused,
       r.tiles_completed, r.tiles_failed, r.tiles_skipped, r.created_at, r.started_at,
       r.finished_at, r.error, r.metrics
  from constellation.runs r
  left join constellation.scenes s on s.id = r.scene_id
  left join constellation.models m on m.id = r.model_id
  left join constellation.gpus g on g.id = r.gpu_id
"""

FIND = SELECT + " where r.id = %(id)s"
OF_JOB = SELECT + " where r.job_id = %(job_id)s order by r.created_at, r.id"

# A retry adds runs; what counts for a job is the newest run of each of its scenes.
NEWEST_OF_JOB = (
    SELECT
    + """
 join (select distinct on (coalesce(scene_id, id)) id
         from constellation.runs
        where job_id = %(job_id)s
        order by coalesce(scene_id, id), created_at desc, id desc) newest on newest.id = r.id
 order by r.created_at, r.id
"""
)

CANCEL_PENDING = """
update constellation.runs
   set state = 'CANCELLED', finished_at = clock_timestamp()
 where job_id = %(job_id)s and state = 'PENDING'
returning id
"""

OPEN_COUNT = """
select count(*) as open_runs from constellation.runs
 where job_id = %(job_id)s and state not in ('COMPLETED', 'FAILED', 'CANCELLED')
"""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run as planned, before it has an id. `ground` is where its tiles lie, in lon/lat; None is
    all of its scene.
    """

    scene_id: UUID
    model_id: UUID
    tiles_planned: int
    tiles_reused: int
    attempt: int = 1
    ground: shapely.MultiPolygon | None = None


def insert(connection: Connection, job_id: UUID, runs: Sequence[NewRun]) -> None:
    """Insert PENDING runs of a job. Their ids will be their Dagster run ids."""
    connection.execute(INSERT, columns_of(runs) | {"job_id": job_id})


def columns_of(runs: Sequence[NewRun]) -> dict[str, Any]:
    """The arguments of INSERT_FOR."""
    return {
        "run_ids": [new_id() for _ in runs],
        "scene_ids": [run.scene_id for run in runs],
        "model_ids": [run.model_id for run in runs],
        "attempts": [run.attempt for run in runs],
        "tiles_planned": [run.tiles_planned for run in runs],
        "tiles_reused": [run.tiles_reused for run in runs],
        "grounds": [run.ground and wkb_of(run.ground) for run in runs],
    }


def wkb_of(ground: shapely.MultiPolygon) -> str:
    """A shape in lon/lat as PostGIS reads it."""
    return str(shapely.to_wkb(shapely.set_srid(ground, 4326), hex=True, include_srid=True))


def find(connection: Connection, run_id: UUID) -> Run:
    """The run of this id. Raises NotFound."""
    row = connection.execute(FIND, {"id": run_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no run {run_id}")
    return run_of(row)


def of_job(connection: Connection, job_id: UUID) -> list[Run]:
    """Every run of a job, earlier attempts too, oldest first."""
    return [run_of(row) for row in connection.execute(OF_JOB, {"job_id": job_id})]


def newest_of_job(connection: Connection, job_id: UUID) -> list[Run]:
    """The newest run of each scene of a job, oldest first."""
    return [run_of(row) for row in connection.execute(NEWEST_OF_JOB, {"job_id": job_id})]


def cancel_pending(connection: Connection, job_id: UUID) -> list[UUID]:
    """Cancel the runs that Dagster does not know yet; return their ids."""
    return [row["id"] for row in connection.execute(CANCEL_PENDING, {"job_id": job_id})]


def count_open(connection: Connection, job_id: UUID) -> int:
    """How many runs of a job have not ended."""
    row = connection.execute(OPEN_COUNT, {"job_id": job_id}).fetchone()
    assert row is not None
    return int(row["open_runs"])


def run_of(row: DictRow) -> Run:
    """The run in a row of SELECT."""
    return Run(**{**row, "state": RunState(row["state"])})
