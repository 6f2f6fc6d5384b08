"""Jobs: what people submitted, with the sums over their runs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.errors import Conflict, NotFound
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.job import Job, JobParams
from constellation_pipelines.domain.states import JobState
from constellation_pipelines.store import events, runs
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.runs import NewRun

SUBMITTED_CHANNEL = "constellation_jobs"
CANCEL_CHANNEL = "constellation_cancel"
QUEUE_CHANNEL = "constellation_queue"

LOCK = "select constellation.lock_job(%(id)s)"
SETTLE = "select constellation.settle_job(%(id)s)"
NOTIFY = "select pg_notify(%(channel)s, %(id)s::text)"
EMIT_AND_NOTIFY = f"{events.EMIT}, pg_notify(%(channel)s, %(job_id)s::text)"

# Waits for a concurrent request with the same key, then inserts nothing: neither job nor runs.
INSERT = f"""
with job as (
  insert into constellation.jobs
         (id, name, params, priority, state, origin, submitted_by, idempotency_key, request_digest)
  values (%(id)s, %(name)s, %(params)s, %(priority)s, 'PENDING', 'api', %(submitted_by)s,
          %(idempotency_key)s, %(request_digest)s)
  on conflict (submitted_by, idempotency_key) do nothing
  returning id, submitted_by, created_at
), made as ({runs.INSERT_FOR.format(job="job")})
select created_at from job
"""

OF_KEY = """
select id, request_digest from constellation.jobs
 where submitted_by = %(submitted_by)s and idempotency_key = %(idempotency_key)s
"""

# The sums over the runs of the jobs in `page`. Of runs that retried a scene only the newest counts.
# Tiles belong to the run that wrote them last, so the area of a run that has ended is what it noted
# at its end.
SUMS = """
of_jobs as (
  select r.job_id, r.tiles_planned, r.tiles_reused, r.tiles_completed, r.tiles_failed,
         r.tiles_skipped,
         coalesce((r.metrics ->> 'area_km2')::float8,
                  (select sum(t.area_km2) from constellation.tiles t
                    where t.run_id = r.id and t.state = 'COMPLETED')) as area_km2,
         row_number() over (partition by r.job_id, coalesce(r.scene_id, r.id)
                            order by r.created_at desc, r.id desc) = 1 as newest
    from page join constellation.runs r on r.job_id = page.id
),
sums as (
  select job_id, sum(tiles_planned) filter (where newest) as tiles_planned,
         sum(tiles_reused) filter (where newest) as tiles_reused,
         sum(tiles_completed) filter (where newest) as tiles_completed,
         sum(tiles_failed) filter (where newest) as tiles_failed,
         sum(tiles_skipped) filter (where newest) as tiles_skipped, sum(area_km2) as area_km2
    from of_jobs group by job_id
)
"""

SUMMED = """
coalesce(s.tiles_planned, 0)::int as tiles_planned,
coalesce(s.tiles_reused, 0)::int as tiles_reused,
coalesce(s.tiles_completed, 0)::int as tiles_completed,
coalesce(s.tiles_failed, 0)::int as tiles_failed,
coalesce(s.tiles_skipped, 0)::int as tiles_skipped, coalesce(s.area_km2, 0) as area_km2
"""

FIND = f"""
with page as (select * from constellation.jobs where id = %(id)s), {SUMS}
select j.id, j.name, j.state, j.priority, j.origin, j.submitted_by, j.params, j.created_at,
       j.started_at, j.finished_at, j.error, {SUMMED}
  from page j left join sums s on s.job_id = j.id
"""

STATE_FOR_UPDATE = "select state, origin from constellation.jobs where id = %(id)s for update"

REQUEST_CANCEL = """
update constellation.jobs set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
 where id = %(id)s
"""

REOPEN = """
update constellation.jobs
   set state = 'PENDING', finished_at = null, error = null, cancel_requested_at = null
 where id = %(id)s
"""


SET_PRIORITY = "update constellation.jobs set priority = %(priority)s where id = %(id)s"

# Of runs that are held too: they may come back into the queue.
SET_PRIORITY_OF_RUNS = """
update constellation.run_queue set priority = %(priority)s
 where job_id = %(id)s and state <> 'done'
"""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as submitted, before it has an id.

    `idempotency_key` is unique per account; `request_digest` tells a repeated request from another
    one that uses the same key.
    """

    name: str
    params: JobParams
    priority: int
    submitted_by: str
    idempotency_key: str | None = None
    request_digest: str | None = None


def submit(connection: Connection, job: NewJob, planned: Sequence[NewRun]) -> tuple[Job, bool]:
    """Write a job, its runs and its event; return the job and whether it is new.

    A repeated request gives the job of the first one. Raises Conflict when its key was used for
    another request.
    """
    job_id, params = new_id(), fields_of(job.params)
    args = fields_of(job) | {"id": job_id, "params": Jsonb(params)} | runs.columns_of(planned)
    row = connection.execute(INSERT, args).fetchone()
    if row is None:
        return find(connection, repeated(connection, job)), False
    made = new_job(job_id, job, params, planned, row["created_at"])
    payload = {
        "state": made.state,
        "origin": made.origin,
        "name": made.name,
        "tiles_planned": made.tiles_planned,
    }
    args = {"type": "job.submitted", "job_id": job_id, "run_id": None, "payload": Jsonb(payload)}
    connection.execute(EMIT_AND_NOTIFY, args | {"channel": SUBMITTED_CHANNEL})
    return made, True


def new_job(
    id: UUID, job: NewJob, params: dict[str, Any], planned: Sequence[NewRun], created_at: datetime
) -> Job:
    """The job that has just been written, as `find` would find it."""
    return Job(
        id=id,
        name=job.name,
        state=JobState.PENDING,
        priority=job.priority,
        origin="api",
        submitted_by=job.submitted_by,
        params=params,
        created_at=created_at,
        started_at=None,
        finished_at=None,
        error=None,
        tiles_planned=sum(run.tiles_planned for run in planned),
        tiles_reused=sum(run.tiles_reused for run in planned),
        tiles_completed=0,
        tiles_failed=0,
        tiles_skipped=0,
        area_km2=0.0,
    )


def fields_of(record: NewJob | JobParams) -> dict[str, Any]:
    """A record's members, an area among them as it is: to copy it would take as long as to write
    it.
    """
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def find_repeated(connection: Connection, job: NewJob) -> UUID | None:
    """The job that the same request with the same key made before, if any. Raises Conflict."""
    if job.idempotency_key is None:
        return None
    args = {"submitted_by": job.submitted_by, "idempotency_key": job.idempotency_key}
    row = connection.execute(OF_KEY, args).fetchone()
    if row is None:
        return None
    if row["request_digest"] != job.request_digest:
        raise Conflict(
            "this Idempotency-Key was used for another request: send a new key with a new request",
            field="Idempotency-Key",
        )
    return UUID(str(row["id"]))


def repeated(connection: Connection, job: NewJob) -> UUID:
    """The job whose key stood in the way of an insert."""
    found = find_repeated(connection, job)
    assert found is not None
    return found


def find(connection: Connection, job_id: UUID) -> Job:
    """The job of this id. Raises NotFound."""
    row = connection.execute(FIND, {"id": job_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return job_of(row)


def cancel(connection: Connection, job_id: UUID) -> Job:
    """Cancel what has not begun and ask the dispatcher to stop the rest.

    Cancelling a cancelled job changes nothing. Raises NotFound, and Conflict for a job that ended
    otherwise.
    """
    state, _ = lock(connection, job_id)
    if state is JobState.CANCELLED:
        return find(connection, job_id)
    if state.is_final:
        raise Conflict(f"job {job_id} is already {state}: there is nothing left to cancel")
    connection.execute(REQUEST_CANCEL, {"id": job_id})
    for run_id in runs.cancel_pending(connection, job_id):
        events.emit(connection, "run.cancelled", job_id, run_id, {"state": "CANCELLED"})
    connection.execute(SETTLE, {"id": job_id})
    if runs.count_open(connection, job_id):
        connection.execute(NOTIFY, {"channel": CANCEL_CHANNEL, "id": job_id})
    return find(connection, job_id)


def retry(connection: Connection, job_id: UUID, planned: Sequence[NewRun]) -> Job:
    """Give a failed or cancelled job these new runs. Raises NotFound and Conflict."""
    refuse_retry(job_id, *lock(connection, job_id))
    connection.execute(REOPEN, {"id": job_id})
    runs.insert(connection, job_id, planned)
    events.emit(connection, "job.retried", job_id, None, {"state": JobState.PENDING})
    connection.execute(SETTLE, {"id": job_id})
    connection.execute(NOTIFY, {"channel": SUBMITTED_CHANNEL, "id": job_id})
    return find(connection, job_id)


def set_priority(connection: Connection, job_id: UUID, priority: int) -> Job:
    """Give a job and its waiting runs another priority, and let the workers look again.

    Raises NotFound, and Conflict for a job that is over.
    """
    state, _ = lock(connection, job_id)
    if state.is_final:
        raise Conflict(f"job {job_id} is already {state}: none of its runs waits")
    args = {"id": job_id, "priority": priority}
    connection.execute(SET_PRIORITY, args)
    connection.execute(SET_PRIORITY_OF_RUNS, args)
    events.emit(connection, "job.prioritised", job_id, None, {"priority": priority})
    connection.execute(NOTIFY, {"channel": QUEUE_CHANNEL, "id": job_id})
    return find(connection, job_id)


def refuse_retry(job_id: UUID, state: JobState, origin: str) -> None:
    """Raise Conflict for a job that cannot be retried."""
    if origin != "api":
        raise Conflict(f"job {job_id} was started in Dagster: re-execute its run there")
    if state not in (JobState.FAILED, JobState.CANCELLED):
        raise Conflict(f"job {job_id} is {state}: only a failed or cancelled job can be retried")


def lock(connection: Connection, job_id: UUID) -> tuple[JobState, str]:
    """Hold a job until the transaction ends; return its state and origin. Raises NotFound."""
    connection.execute(LOCK, {"id": job_id})
    row = connection.execute(STATE_FOR_UPDATE, {"id": job_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return JobState(row["state"]), str(row["origin"])


def job_of(row: DictRow) -> Job:
    """The job in a row of FIND."""
    return Job(**{**row, "state": JobState(row["state"]), "params": dict[str, Any](row["params"])})
