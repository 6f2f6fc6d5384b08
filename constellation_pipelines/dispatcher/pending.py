"""Runs that jobs have asked for and Dagster does not know yet; jobs that are to be cancelled."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from constellation_pipelines.store.database import Connection

JOBS_CHANNEL = "constellation_jobs"
CANCEL_CHANNEL = "constellation_cancel"
SCENES_CHANNEL = "constellation_scenes"

PENDING_RUNS = """
select r.id, r.job_id, s.key as scene_key, m.name as model, m.version, j.priority, j.params,
       j.submitted_by
  from constellation.runs r
  join constellation.jobs j on j.id = r.job_id
  join constellation.scenes s on s.id = r.scene_id
  join constellation.models m on m.id = r.model_id
 where r.state = 'PENDING' and j.origin = 'api' and j.cancel_requested_at is null
 order by j.priority desc, r.created_at, r.id
 limit 100
"""

RUNS_TO_CANCEL = """
select r.id, r.state from constellation.runs r join constellation.jobs j on j.id = r.job_id
 where j.cancel_requested_at is not null
   and r.state in ('PENDING', 'QUEUED', 'STARTING', 'RUNNING')
"""

NEW_SCENES = """
select id, key, digest, area_km2, gsd_m from constellation.scenes
 where partitioned_at is null order by created_at, key limit 1000
"""


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A run to be made in Dagster, under this very id."""

    id: UUID
    job_id: UUID
    scene_key: str
    model: str
    version: str
    priority: int
    params: dict[str, Any]
    submitted_by: str


def pending_runs(connection: Connection) -> list[PendingRun]:
    """The next runs to make, most urgent first."""
    return [PendingRun(**row) for row in connection.execute(PENDING_RUNS).fetchall()]


def runs_to_cancel(connection: Connection) -> list[tuple[UUID, str]]:
    """Runs (id, state) whose job is to be cancelled."""
    rows = connection.execute(RUNS_TO_CANCEL).fetchall()
    return [(row["id"], row["state"]) for row in rows]


def fail_run(connection: Connection, run: PendingRun, reason: str) -> None:
    """End a run that cannot be handed to Dagster."""
    connection.execute("select constellation.lock_job(%s)", (run.job_id,))
    connection.execute(
        "update constellation.runs set state = 'FAILED', error = %s, "
        "finished_at = clock_timestamp() where id = %s and state = 'PENDING'",
        (reason, run.id),
    )
    connection.execute(
        "select constellation.emit('run.failed', %s, %s, '{\"state\": \"FAILED\"}')",
        (run.job_id, run.id),
    )
    connection.execute("select constellation.settle_job(%s)", (run.job_id,))


def cancel_pending_run(connection: Connection, run_id: UUID) -> None:
    """Cancel a run before Dagster has heard of it."""
    row = connection.execute(
        "select constellation.lock_job(job_id), job_id from constellation.runs where id = %s",
        (run_id,),
    ).fetchone()
    if row is None:
        return
    done = connection.execute(
        "update constellation.runs set state = 'CANCELLED', finished_at = clock_timestamp() "
        "where id = %s and state = 'PENDING'",
        (run_id,),
    )
    if done.rowcount:
        connection.execute("select constellation.settle_job(%s)", (row["job_id"],))


def new_scenes(connection: Connection) -> list[dict[str, Any]]:
    """Scenes that are not a partition yet."""
    return [dict(row) for row in connection.execute(NEW_SCENES).fetchall()]


def mark_partitioned(connection: Connection, ids: list[UUID]) -> None:
    """Note that Dagster knows these scenes."""
    connection.execute(
        "update constellation.scenes set partitioned_at = clock_timestamp() where id = any(%s)",
        (ids,),
    )
