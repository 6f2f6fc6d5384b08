"""Runs whose worker is gone: queued again, each with the fault that says why.

Whoever calls this holds the proof. One short transaction per run: the job's lock comes before the
queue's row, as it does for a run that commits tiles.
"""

from dataclasses import dataclass
from uuid import UUID

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.store import faults, queue
from constellation_pipelines.store.database import Connection, Database
from constellation_pipelines.store.tiles import lock_job

# A run does not pay with an attempt for a worker that died. One that has outlived this many is
# taken for what kills them.
MOST_WORKERS_LOST = 10

HELD = """
select q.run_id, q.fence, q.cancel_requested,
       (select l.gpu_id from constellation.leases l
         where l.fence = q.fence and l.released_at is null limit 1) as gpu_id
  from constellation.run_queue q
 where q.worker_id = %(worker_id)s and q.state = 'leased'
"""

LOST_BEFORE = """
select count(*) as n from constellation.faults
 where run_id = %(run_id)s and kind = 'worker'
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a worker is taken for dead, in words for people."""

    worker_id: UUID
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """A run that its worker holds no more, and the device it was on."""

    lease: queue.Lease
    gpu_id: UUID | None
    cancelled: bool


def take_over(database: Database, proof: Proof) -> int:
    """Free everything a dead worker held and queue its runs again; return how many runs there were.

    Safe to call from several processes at once: each run passes on once.
    """
    with database.transaction() as connection:
        rows = connection.execute(HELD, {"worker_id": proof.worker_id}).fetchall()
    orphans = [
        Orphan(queue.Lease(row["run_id"], row["fence"]), row["gpu_id"], row["cancel_requested"])
        for row in rows
    ]
    for orphan in orphans:
        with database.transaction() as connection:
            pass_on(connection, orphan, proof)
    return len(orphans)


def pass_on(connection: Connection, orphan: Orphan, proof: Proof) -> None:
    """Queue one run again, or end it in the queue when it was cancelled or has lost too many."""
    lease = orphan.lease
    lock_job(connection, lease.run_id)
    row = connection.execute(LOST_BEFORE, {"run_id": lease.run_id}).fetchone()
    hopeless = row is not None and row["n"] >= MOST_WORKERS_LOST
    attempt = None
    if not hopeless:
        attempt = queue.requeue(connection, lease, resume=True, spend_attempt=False)
    if attempt is None and not queue.finish(connection, lease, None):
        return  # somebody else has passed it on
    if attempt is None and orphan.cancelled:
        return  # its end was asked for
    fault = Fault(
        FaultKind.WORKER,
        Decision.FAIL if attempt is None else Decision.RESUME,
        f"The worker on {proof.host} is gone: {proof.reason}.",
        run_id=lease.run_id,
        gpu_id=orphan.gpu_id,
        worker_id=proof.worker_id,
        attempt=attempt,
        details={"host": proof.host, "proof": proof.reason},
    )
    faults.record(connection, fault)
