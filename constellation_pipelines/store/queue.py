"""The run queue and the leases: who runs what, on which device, until when.

One statement claims a run and its devices. Every later write of the holder names its fencing
number, and changes nothing once the number is out of date. All times are the database's.
"""

from dataclasses import dataclass
from uuid import UUID

from psycopg.errors import UniqueViolation

from constellation_pipelines.domain.errors import LeaseLost
from constellation_pipelines.store.database import Connection

QUEUE_CHANNEL = "constellation_queue"
INTERRUPT_CHANNEL = "constellation_interrupt"
LEASE_TTL_S = 15
MAX_ATTEMPTS = 3

ENQUEUE = """
insert into constellation.run_queue (run_id, instance_ref, resume, priority, gpu_count)
values (%(run_id)s, %(instance_ref)s, %(resume)s, %(priority)s, %(gpu_count)s)
on conflict (run_id) do update
   set state = 'queued', resume = excluded.resume, cancel_requested = false, worker_id = null,
       fence = null, pid = null, exit_code = null, finished_at = null,
       enqueued_at = clock_timestamp(), attempt = constellation.run_queue.attempt + 1
 where constellation.run_queue.state = 'done'
"""

# Priority first, then the account with the fewest runs on devices, then age.
CLAIM = """
with free as (
  select id, uuid, idx from constellation.gpus g
   where g.worker_id = %(worker_id)s and g.engine_ready
     and not exists (select 1 from constellation.leases l
                      where l.gpu_id = g.id and l.released_at is null)
   order by idx for update skip locked
), next_run as (
  select q.run_id, q.gpu_count from constellation.run_queue q
    left join constellation.runs r on r.id = q.run_id
    left join constellation.jobs j on j.id = r.job_id
   where q.state = 'queued' and q.gpu_count <= (select count(*) from free)
   order by q.priority desc,
            (select count(*) from constellation.run_queue hq
               join constellation.runs hr on hr.id = hq.run_id
               join constellation.jobs hj on hj.id = hr.job_id
              where hq.state = 'leased' and hj.submitted_by = j.submitted_by),
            q.enqueued_at
   limit 1 for update of q skip locked
), number as (
  select run_id, gpu_count, nextval('constellation.fence') as fence from next_run
), chosen as (
  select free.id, free.uuid, free.idx from free
   order by idx limit coalesce((select gpu_count from number), 0)
), held as (
  insert into constellation.leases (fence, gpu_id, worker_id, run_id, expires_at)
  select number.fence, chosen.id, %(worker_id)s, number.run_id,
         now() + make_interval(secs => %(ttl_s)s)
    from number, chosen
  returning gpu_id
), placed as (
  update constellation.runs
     set gpu_id = (select id from chosen order by idx limit 1)
   where id = (select run_id from number)
)
update constellation.run_queue q
   set state = 'leased', fence = number.fence, worker_id = %(worker_id)s, pid = null,
       leased_at = clock_timestamp(), heartbeat_at = now()
  from number where q.run_id = number.run_id
returning q.run_id, q.instance_ref, q.resume, q.attempt, q.fence,
          array(select uuid from chosen order by idx) as devices
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
       attempt = attempt + %(spent)s
 where run_id = %(run_id)s and fence = %(fence)s and state = 'leased'
   and attempt + %(spent)s <= %(max_attempts)s and not cancel_requested
returning attempt
"""

FREE = """
update constellation.leases set released_at = clock_timestamp()
 where fence = %(fence)s and released_at is null
"""

# Proof of death is a worker that has missed its heartbeats: its children die with it.
LAPSED = """
select q.run_id, q.fence, q.attempt from constellation.run_queue q
  join constellation.workers w on w.id = q.worker_id
 where q.state = 'leased' and q.heartbeat_at < now() - make_interval(secs => %(ttl_s)s)
   and w.heartbeat_at < now() - make_interval(secs => %(ttl_s)s)
 for update of q skip locked
"""

# Over, but Dagster was never told. A run that had a worker has no process left that could tell; one
# that was withdrawn while it waited gets a grace, for its canceller is about to.
UNTOLD = """
select q.run_id, q.exit_code, q.cancel_requested or r.state = 'CANCELLING' as cancelled
  from constellation.runs r join constellation.run_queue q on q.run_id = r.id
 where r.state in ('QUEUED', 'STARTING', 'RUNNING', 'CANCELLING')
   and q.state = 'done'
   and (q.worker_id is not null or q.finished_at < now() - interval '2 seconds')
"""

GUARD = """
select 1 from constellation.run_queue
 where run_id = %(run_id)s and fence = %(fence)s and state = 'leased' for share
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """A run's hold on its devices, as its writers name it."""

    run_id: UUID
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that a worker may start now. `devices` are device uuids in order of index."""

    lease: Lease
    instance_ref: str
    resume: bool
    attempt: int
    devices: tuple[str, ...]


def enqueue(
    connection: Connection,
    *,
    run_id: UUID,
    instance_ref: str,
    resume: bool,
    priority: int,
    gpu_count: int,
) -> None:
    """Put a run into the queue and wake the workers. A run that waits or runs stays as it is."""
    connection.execute(
        ENQUEUE,
        {
            "run_id": run_id,
            "instance_ref": instance_ref,
            "resume": resume,
            "priority": priority,
            "gpu_count": gpu_count,
        },
    )
    wake(connection, QUEUE_CHANNEL, run_id)


def wake(connection: Connection, channel: str, run_id: UUID) -> None:
    """Notify whoever listens, at commit."""
    connection.execute("select pg_notify(%s, %s)", (channel, str(run_id)))


def claim(connection: Connection, worker_id: UUID) -> Claim | None:
    """Lease the next fitting run and its devices to a worker; None when nothing fits."""
    args = {"worker_id": worker_id, "ttl_s": LEASE_TTL_S}
    try:
        with connection.transaction():
            row = connection.execute(CLAIM, args).fetchone()
    except UniqueViolation:  # another claimant leased the device between our look and our write
        return None
    if row is None:
        return None
    lease = Lease(row["run_id"], row["fence"])
    return Claim(lease, row["instance_ref"], row["resume"], row["attempt"], tuple(row["devices"]))


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
    connection.execute(FREE, {"fence": lease.fence})
    connection.execute(
        "update constellation.runs set exit_code = %s where id = %s and %s",
        (exit_code, lease.run_id, ours),
    )
    wake(connection, QUEUE_CHANNEL, lease.run_id)
    return ours


def requeue(
    connection: Connection, lease: Lease, *, resume: bool, spend_attempt: bool = True
) -> int | None:
    """Queue a run again whose process has ended: the number of its attempt, None when none is left.

    A run that died spends an attempt; one that was only given back does not.
    """
    row = connection.execute(
        REQUEUE,
        {
            "run_id": lease.run_id,
            "fence": lease.fence,
            "resume": resume,
            "spent": int(spend_attempt),
            "max_attempts": MAX_ATTEMPTS,
        },
    ).fetchone()
    if row is None:
        return None
    connection.execute(FREE, {"fence": lease.fence})
    connection.execute(
        "update constellation.runs set attempt = %s where id = %s", (row["attempt"], lease.run_id)
    )
    wake(connection, QUEUE_CHANNEL, lease.run_id)
    return int(row["attempt"])


def lapsed(connection: Connection) -> list[Lease]:
    """Leases whose worker is gone. The rows stay locked until the transaction ends."""
    rows = connection.execute(LAPSED, {"ttl_s": LEASE_TTL_S}).fetchall()
    return [Lease(row["run_id"], row["fence"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Untold:
    """A run that is over in the queue but not in Dagster. `cancelled`: its end was asked for."""

    run_id: UUID
    exit_code: int | None
    cancelled: bool


def untold(connection: Connection) -> list[Untold]:
    """Runs whose end Dagster has to be told of."""
    rows = connection.execute(UNTOLD).fetchall()
    return [Untold(**row) for row in rows]


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


def guard(connection: Connection, lease: Lease) -> None:
    """Hold the lease still for this transaction. Raises LeaseLost when it has passed on."""
    args = {"run_id": lease.run_id, "fence": lease.fence}
    if connection.execute(GUARD, args).fetchone() is None:
        raise LeaseLost(f"run {lease.run_id} is no longer held under fence {lease.fence}")
