"""What a run was asked to do, and what it planned."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from constellation_pipelines.domain.errors import NotFound
from constellation_pipelines.store.database import Connection

REQUEST = """
select r.job_id, r.scene_id, r.model_id, r.account, r.created_at, j.params, j.origin,
       exists (select 1 from constellation.runs e
                where e.job_id = r.job_id and e.scene_id = r.scene_id and e.id <> r.id
                  and e.state in ('FAILED', 'CANCELLED')) as retried
  from constellation.runs r join constellation.jobs j on j.id = r.job_id
 where r.id = %(run_id)s
"""

BIND = """
update constellation.runs
   set scene_id = %(scene_id)s, model_id = %(model_id)s, tiles_planned = %(planned)s,
       tiles_reused = %(reused)s
 where id = %(run_id)s
"""

NAME_JOB = """
update constellation.jobs
   set params = params || %(params)s
 where id = (select job_id from constellation.runs where id = %(run_id)s) and origin = 'dagster'
"""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request behind a run. Scene and model are None for a run launched in Dagster's UI."""

    job_id: UUID
    scene_id: UUID | None
    model_id: UUID | None
    account: str
    params: dict[str, Any]
    date: str  # yyyy-mm-dd, UTC, the day the run was made: the same on every attempt
    retried: bool  # an earlier run of the same job and scene failed or was cancelled


def request_of(connection: Connection, run_id: UUID) -> RunRequest:
    """What was asked of a run. Raises NotFound for a run that Dagster made without our trigger."""
    row = connection.execute(REQUEST, {"run_id": run_id}).fetchone()
    if row is None:
        raise NotFound(
            f"run {run_id} is not in Constellation's tables: run `constellation migrate` once, so "
            "that Dagster's runs are projected into them"
        )
    return RunRequest(
        row["job_id"],
        row["scene_id"],
        row["model_id"],
        row["account"],
        row["params"],
        row["created_at"].strftime("%Y-%m-%d"),
        row["retried"],
    )


def bind(
    connection: Connection,
    run_id: UUID,
    *,
    scene_id: UUID,
    model_id: UUID,
    model: str,
    planned: int,
    reused: int,
) -> None:
    """Note what a run will do. A job that came from Dagster's UI learns its model this way."""
    connection.execute(
        BIND,
        {
            "run_id": run_id,
            "scene_id": scene_id,
            "model_id": model_id,
            "planned": planned,
            "reused": reused,
        },
    )
    connection.execute(NAME_JOB, {"run_id": run_id, "params": Jsonb({"model": model})})


def begin(connection: Connection, run_id: UUID) -> None:
    """Note that a run's work has begun, and tell of it. Take it before any row of the job."""
    connection.execute("select constellation.begin_run(%s)", (run_id,))


def record_metrics(connection: Connection, run_id: UUID, metrics: dict[str, Any]) -> None:
    """Keep a run's figures and the places of its outputs."""
    connection.execute(
        "update constellation.runs set metrics = metrics || %s where id = %s",
        (Jsonb(metrics), run_id),
    )


def record_error(connection: Connection, run_id: UUID, message: str) -> None:
    """Keep the reason why a run failed."""
    connection.execute(
        "update constellation.runs set error = %s where id = %s", (message[:2000], run_id)
    )
