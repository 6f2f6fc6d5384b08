"""The end of a run's process, and what follows from it: nothing, another attempt, or failure."""

import os
import random
import signal

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.store import faults, jobs, queue, stagings
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.tiles import lock_job

# A process says this when a service it needs was away: the run goes on, and pays no attempt.
GAVE_BACK = os.EX_TEMPFAIL
# A process says this when pixels of its remote scene did not come: it waits for them in the queue.
STARVED = stagings.NO_PIXELS
MOST_TIMES_GIVEN_BACK = 10
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

FACTS = """
select r.state, q.cancel_requested, q.attempt, q.worker_id,
       (select l.gpu_id from constellation.leases l
         where l.fence = q.fence and l.released_at is null limit 1) as gpu_id,
       (select count(*) from constellation.faults f
         where f.run_id = q.run_id and f.kind = 'transient' and f.decision = 'resume')
         as times_given_back
  from constellation.run_queue q left join constellation.runs r on r.id = q.run_id
 where q.run_id = %(run_id)s and q.fence = %(fence)s and q.state = 'leased'
"""

# Of the lease before this one, or later: an older fault is not what the run goes on after.
LAST_FAULT = """
select message from constellation.faults
 where run_id = %(run_id)s
   and at >= coalesce((select max(acquired_at) from constellation.leases
                        where run_id = %(run_id)s and fence < %(fence)s), '-infinity')
 order by at desc, id desc limit 1
"""


def settle(
    connection: Connection, lease: queue.Lease, code: int, *, moved: bool = False
) -> int | None:
    """Free what a run held whose process ended with `code`; queue it again where it is not over.

    Returns the number of the attempt that follows, None where none does. A negative code is the
    number of the signal that ended it. A run that is `moved` was ended by its worker because of its
    device, which has been recorded, and pays no attempt. Where the lease has passed on, nothing
    changes. The dispatcher is woken where Dagster has to be told of the end.
    """
    lock_job(connection, lease.run_id)
    row = connection.execute(FACTS, {"run_id": lease.run_id, "fence": lease.fence}).fetchone()
    if row is None or row["state"] in (None, "COMPLETED", "FAILED", "CANCELLED"):
        queue.finish(connection, lease, code)
        return None
    if row["cancel_requested"]:
        queue.finish(connection, lease, code)
        queue.wake(connection, jobs.CANCEL_CHANNEL, lease.run_id)
        return None
    if code == STARVED and stagings.starved(connection, lease.run_id):
        return queue.requeue(connection, lease, resume=True, spend_attempt=False)
    gave_back = code == GAVE_BACK and row["times_given_back"] < MOST_TIMES_GIVEN_BACK
    free = moved or gave_back
    delay_s = pause_s(row["times_given_back"]) if gave_back else 0.0
    attempt = queue.requeue(connection, lease, resume=True, spend_attempt=not free, delay_s=delay_s)
    if attempt is None:
        queue.finish(connection, lease, code)
        queue.wake(connection, jobs.CANCEL_CHANNEL, lease.run_id)
    if moved and attempt is not None:
        return attempt
    fault = Fault(
        FaultKind.TRANSIENT if code == GAVE_BACK else FaultKind.PROCESS,
        Decision.FAIL if attempt is None else Decision.RESUME,
        f"The run's process {words(code)}.",
        run_id=lease.run_id,
        gpu_id=row["gpu_id"],
        worker_id=row["worker_id"],
        attempt=row["attempt"],
        details={"exit_code": code},
    )
    faults.record(connection, fault)
    return attempt


def pause_s(times_before: int) -> float:
    """How long a run that was given back waits: not the first time, then longer, never in step."""
    if times_before == 0:
        return 0.0
    return min(FIRST_PAUSE_S * 2.0**times_before, LONGEST_PAUSE_S) * random.uniform(0.5, 1.5)


def words(code: int) -> str:
    """How a process ended, for people."""
    if code == GAVE_BACK:
        return "gave the run back: a service it needs was away, or its model not loaded yet"
    if code < 0:
        return f"was ended by {signal_name(-code)}"
    return f"ended with exit code {code}"


def signal_name(number: int) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def why_resumed(connection: Connection, lease: queue.Lease) -> str | None:
    """The fault that ended the attempt before this lease; None where it was given back."""
    row = connection.execute(LAST_FAULT, {"run_id": lease.run_id, "fence": lease.fence}).fetchone()
    return None if row is None else str(row["message"])
