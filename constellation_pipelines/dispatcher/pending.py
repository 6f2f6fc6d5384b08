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
   and s.partitioned_at is not null
 order by j.priority desc, r.created_at, r.id
 limit 100
"""

# Known to Dagster but never queued: whoever made them died, or lost the database, in between.
# Dagster makes runs of its own some time before it submits them: of those only the submitted count.
STRANDED_RUNS = """
select r.id from constellation.runs r join constellation.jobs j on j.id = r.job_id
 where r.state = 'QUEUED' and r.created_at < now() - interval '2 seconds'
   and (j.origin = 'api' or r.dagster_status = 'QUEUED')
   and not exists (select 1 from constellation.run_queue q where q.run_id = r.id)
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

LOCK_JOB = """
select constellation.lock_job(job_id), job_id from constellation.runs where id = %(run_id)s
"""

END_PENDING = """
update constellation.runs
   set state = %(state)s, error = %(reason)s, finished_at = clock_timestamp()
 where id = %(run_id)s and state = 'PENDING'
"""

EMIT_ENDED = """
select constellation.emit('run.' || lower(%(state)s), %(job_id)s, %(run_id)s,
                          jsonb_build_object('state', %(state)s::text))
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


def stranded_runs(connection: Connection) -> list[UUID]:
    """Runs that wait in Dagster but not in the queue, so that no worker would ever see them."""
    return [row["id"] for row in connection.execute(STRANDED_RUNS).fetchall()]


def runs_to_cancel(connection: Connection) -> list[tuple[UUID, str]]:
    """Runs (id, state) whose job is to be cancelled."""
    rows = connection.execute(RUNS_TO_CANCEL).fetchall()
    return [(row["id"], row["state"]) for row in rows]


def fail_run(connection: Connection, run: PendingRun, reason: str) -> None:
    """End a run that cannot be handed to Dagster."""
    end_pending(connection, run.id, "FAILED", reason)


def cancel_pending_run(connection: Connection, run_id: UUID) -> None:
    """Cancel a run before Dagster has heard of it."""
    end_pending(connection, run_id, "CANCELLED", None)


def end_pending(connection: Connection, run_id: UUID, state: str, reason: str | None) -> None:
    """Give a run that Dagster does not know its final state; anything else stays as it is."""
    args = {"run_id": run_id, "state": state, "reason": reason}
    row = connection.execute(LOCK_JOB, args).fetchone()
    if row is None or connection.execute(END_PENDING, args).rowcount == 0:
        return
    args["job_id"] = row["job_id"]
    connection.execute(EMIT_ENDED, args)
    connection.execute("select constellation.settle_job(%(job_id)s)", args)


def new_scenes(connection: Connection) -> list[dict[str, Any]]:
    """Scenes that are not a partition yet."""
    return [dict(row) for row in connection.execute(NEW_SCENES).fetchall()]


def mark_partitioned(connection: Connection, ids: list[UUID]) -> None:
    """Note that Dagster knows these scenes."""
    connection.execute(
        "update constellation.scenes set partitioned_at = clock_timestamp() where id = any(%s)",
        (ids,),
    )
