"""The run queue: who waits, who runs what, until when.

`claims` chooses what starts next. Every later write of the holder names its fencing number, and
changes nothing once the number is out of date. All times are the database's.
"""

from dataclasses import dataclass
from uuid import UUID

from constellation_pipelines.store import stagings
from constellation_pipelines.store.claims import Claim as Claim
from constellation_pipelines.store.claims import claim as claim
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.leases import LEASE_TTL_S as LEASE_TTL_S
from constellation_pipelines.store.leases import Lease as Lease
from constellation_pipelines.store.leases import free
from constellation_pipelines.store.leases import guard as guard

QUEUE_CHANNEL = "constellation_queue"
INTERRUPT_CHANNEL = "constellation_interrupt"
MAX_ATTEMPTS = 3

# The row repeats what the claim asks of a run, so that the claim reads one table. The job's row is
# held until commit: a priority that changes meanwhile is either read here or finds the row there.
ENQUEUE = """
with job as (
  select j.id, j.submitted_by, j.priority, j.origin, j.params from constellation.jobs j
   where j.id = (select job_id from constellation.runs where id = %(run_id)s) for share
), model as (
  select m.digest, m.document #> '{properties,constellation:chip_px}' as chip_px
    from constellation.models m
   where m.id = (select model_id from constellation.runs where id = %(run_id)s)
)
insert into constellation.run_queue
       (run_id, instance_ref, resume, priority, gpu_count, mem_mb, job_id, account, model_digest,
        chip_px, serial_job_id)
select %(run_id)s, %(instance_ref)s, %(resume)s,
       case when job.origin = 'api' then job.priority else %(priority)s::int end,
       %(gpu_count)s, %(mem_mb)s::int, job.id, coalesce(job.submitted_by, 'system'), model.digest,
       case when jsonb_typeof(model.chip_px) = 'number' then model.chip_px::int end,
       case when job.params ->> 'mode' = 'serial' then job.id end
  from (select) run left join job on true left join model on true
on conflict (run_id) do update
   set state = 'queued', resume = excluded.resume, cancel_requested = false, worker_id = null,
       fence = null, pid = null, exit_code = null, finished_at = null, reserved_worker_id = null,
       not_before = null, account_slot = null, global_slot = null,
       priority = excluded.priority, gpu_count = excluded.gpu_count, mem_mb = excluded.mem_mb,
       model_digest = coalesce(excluded.model_digest, constellation.run_queue.model_digest),
       chip_px = coalesce(excluded.chip_px, constellation.run_queue.chip_px),
       enqueued_at = clock_timestamp(), attempt = constellation.run_queue.attempt + 1
 where constellation.run_queue.state = 'done'
"""

BEAT = """
update constellation.run_queue set heartbeat_at = now()
 where worker_id = %(worker_id)s and state = 'leased'
returning run_id, fence, cancel_requested
"""

EXTEND = """
update constellation.leases set expires_at = now() + make_interval(secs => %(ttl_s)s)
 where worker_id = %(worker_id)s and released_at is null
"""

FINISH = """
update constellation.run_queue
   set state = 'done', exit_code = %(exit_code)s, finished_at = clock_timestamp()
 where run_id = %(run_id)s and fence = %(fence)s and state = 'leased'
"""

# It keeps its place: a run that was interrupted does not wait behind those that came after it.
REQUEUE = """
update constellation.run_queue
   set state = 'queued', resume = %(resume)s, worker_id = null, fence = null, pid = null,
       account_slot = null, global_slot = null, attempt = attempt + %(spent)s,
       not_before = case when %(delay_s)s::float8 > 0
                         then now() + make_interval(secs => %(delay_s)s) end
 where run_id = %(run_id)s and fence = %(fence)s and state = 'leased'
   and attempt + %(spent)s <= %(max_attempts)s and not cancel_requested
returning attempt
"""

# Over, but Dagster was never told. A run that had a worker has no process left that could tell; one
# that was withdrawn while it waited gets a grace, for its canceller is about to.
UNTOLD = f"""
select q.run_id, q.exit_code, q.cancel_requested or r.state = 'CANCELLING' as cancelled,
       case when q.exit_code = {stagings.NO_PIXELS} then r.error end as reason
  from constellation.runs r join constellation.run_queue q on q.run_id = r.id
 where r.state in ('QUEUED', 'STARTING', 'RUNNING', 'CANCELLING')
   and q.state = 'done'
   and (q.worker_id is not null or q.finished_at < now() - interval '2 seconds')
"""


def enqueue(
    connection: Connection,
    *,
    run_id: UUID,
    instance_ref: str,
    resume: bool,
    priority: int,
    gpu_count: int,
    mem_mb: int | None = None,
    scene_key: str | None = None,
) -> None:
    """Put a run into the queue and wake the workers. A run that waits or runs stays as it is.

    One of a remote scene waits for its first pixels. `scene_key` names the scene of a run that
    Dagster made.

    A run of a job from the API has the priority of its job. `mem_mb` is what the run states that it
    needs on each device; what was measured goes before it.
    """
    connection.execute(
        ENQUEUE,
        {
            "run_id": run_id,
            "instance_ref": instance_ref,
            "resume": resume,
            "priority": priority,
            "gpu_count": gpu_count,
            "mem_mb": mem_mb,
        },
    )
    if gpu_count > 0:
        stagings.want(connection, run_id, scene_key)
    wake(connection, QUEUE_CHANNEL, run_id)


def wake(connection: Connection, channel: str, run_id: UUID) -> None:
    """Notify whoever listens, at commit."""
    connection.execute("select pg_notify(%s, %s)", (channel, str(run_id)))


@dataclass(frozen=True, slots=True)
class Held:
    """A run that a worker holds, as the database sees it."""

    lease: Lease
    cancel_requested: bool


def beat(connection: Connection, worker_id: UUID) -> list[Held]:
    """Say that the worker's runs are alive, extend their leases; return what it still holds."""
    connection.execute(EXTEND, {"worker_id": worker_id, "ttl_s": LEASE_TTL_S})
    rows = connection.execute(BEAT, {"worker_id": worker_id}).fetchall()
    return [Held(Lease(row["run_id"], row["fence"]), row["cancel_requested"]) for row in rows]


def started(connection: Connection, lease: Lease, pid: int) -> None:
    """Note the process of a run, for people to read."""
    connection.execute(
        "update constellation.run_queue set pid = %s where run_id = %s and fence = %s",
        (pid, lease.run_id, lease.fence),
    )


def finish(connection: Connection, lease: Lease, exit_code: int | None) -> bool:
    """End a lease; False when it had passed to someone else."""
    args = {"run_id": lease.run_id, "fence": lease.fence, "exit_code": exit_code}
    ours = connection.execute(FINISH, args).rowcount == 1
    free(connection, lease)
    connection.execute(
        "update constellation.runs set exit_code = %s where id = %s and %s",
        (exit_code, lease.run_id, ours),
    )
    wake(connection, QUEUE_CHANNEL, lease.run_id)
    return ours


def requeue(
    connection: Connection,
    lease: Lease,
    *,
    resume: bool,
    spend_attempt: bool = True,
    delay_s: float = 0.0,
) -> int | None:
    """Queue a run again whose process has ended: the number of its attempt, None when none is left.

    A run that died spends an attempt; one that was only given back does not. It starts no sooner
    than in `delay_s`.
    """
    row = connection.execute(
        REQUEUE,
        {
            "run_id": lease.run_id,
            "fence": lease.fence,
            "resume": resume,
            "spent": int(spend_attempt),
            "max_attempts": MAX_ATTEMPTS,
            "delay_s": delay_s,
        },
    ).fetchone()
    if row is None:
        return None
    free(connection, lease)
    connection.execute(
        "update constellation.runs set attempt = %s where id = %s", (row["attempt"], lease.run_id)
    )
    wake(connection, QUEUE_CHANNEL, lease.run_id)
    return int(row["attempt"])


@dataclass(frozen=True, slots=True)
class Untold:
    """A run that is over in the queue but not in Dagster. `cancelled`: its end was asked for.

    `reason` is that of a run whose pixels did not come, so that it never had a process.
    """

    run_id: UUID
    exit_code: int | None
    cancelled: bool
    reason: str | None = None


def untold(connection: Connection) -> list[Untold]:
    """Runs whose end Dagster has to be told of."""
    rows = connection.execute(UNTOLD).fetchall()
    return [Untold(**row) for row in rows]


def owner_of(connection: Connection, run_id: UUID) -> tuple[UUID, str] | None:
    """Job and account of a run, None where it is not known."""
    row = connection.execute(
        "select r.job_id, j.submitted_by from constellation.runs r "
        "join constellation.jobs j on j.id = r.job_id where r.id = %s",
        (run_id,),
    ).fetchone()
    return None if row is None else (row["job_id"], row["submitted_by"])


def withdraw(connection: Connection, run_id: UUID) -> bool:
    """Take a waiting run out of the queue; False when it was not waiting."""
    row = connection.execute(
        "update constellation.run_queue set state = 'done', finished_at = clock_timestamp() "
        "where run_id = %s and state = 'queued' returning run_id",
        (run_id,),
    ).fetchone()
    return row is not None


def request_interrupt(connection: Connection, run_id: UUID) -> bool:
    """Ask the holder of a run to stop it; False when nobody holds it."""
    row = connection.execute(
        "update constellation.run_queue set cancel_requested = true "
        "where run_id = %s and state = 'leased' returning run_id",
        (run_id,),
    ).fetchone()
    wake(connection, INTERRUPT_CHANNEL, run_id)
    return row is not None
