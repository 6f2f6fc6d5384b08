"""Stagings: runs of remote scenes, and how far their pixels are on the host that will run them.

    wanted   first pixels are missing: the run cannot be claimed
    ready    first pixels are on the host of `worker_id`, whose worker may claim it; more follow
    whole    all that the run needs is there

A staging belongs to one worker at a time. One that has stopped or fallen silent is relieved.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.store import faults
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.devices import WORKER_ALIVE_S

NO_PIXELS = os.EX_NOINPUT  # the exit code of a run that ends, or comes back, for want of pixels

# A run that is queued again begins anew here too: its next host may be another one.
WANT = """
insert into constellation.stagings (run_id, scene_id)
select %(run_id)s, s.id
  from constellation.scenes s left join constellation.runs r on r.id = %(run_id)s
 where s.uri ~ '^(https?|s3)://'
   and (s.id = r.scene_id or r.scene_id is null and s.key = %(scene_key)s)
on conflict (run_id) do update
   set state = 'wanted', worker_id = null, attempts = 0, not_before = null, note = null
"""

# Only a worker that could run it fetches for it; of a run that has begun, the one that runs it.
# What another worker has fetched is on another host: the run waits again.
TAKE = f"""
with next as (
  select g.run_id from constellation.stagings g
    join constellation.run_queue q on q.run_id = g.run_id
    left join constellation.workers w on w.id = g.worker_id
   where g.run_id <> all(%(busy)s)
     and (g.not_before is null or g.not_before <= now())
     and (q.state = 'leased' and q.worker_id = %(worker_id)s and g.state <> 'whole'
          or q.state = 'queued'
             and q.gpu_count <= (select count(*) from constellation.gpus
                                  where worker_id = %(worker_id)s and health = 'ok')
             and case when w.id is null or w.id = %(worker_id)s then g.state <> 'whole'
                      else w.stopped_at is not null
                           or w.heartbeat_at < now() - interval '{WORKER_ALIVE_S} s' end)
   order by g.state = 'ready', q.priority desc, q.enqueued_at
   limit %(limit)s for update of g skip locked
)
update constellation.stagings g
   set worker_id = %(worker_id)s, updated_at = now(),
       state = case when g.worker_id <> %(worker_id)s then 'wanted' else g.state end
  from next where g.run_id = next.run_id
returning g.run_id, g.scene_id, g.attempts, g.everything
"""

# The worker that was relieved finds no row any more, and stops.
PROGRESS = """
update constellation.stagings g
   set done_bytes = %(done)s, wanted_bytes = %(wanted)s, updated_at = now(),
       attempts = case when %(came)s then 0 else g.attempts end,
       note = case when not %(came)s then g.note end,
       not_before = case when not %(came)s then g.not_before end,
       state = case when g.state = 'wanted' or %(state)s = 'whole' then %(state)s else g.state end
  from constellation.run_queue q
 where g.run_id = %(run_id)s and g.worker_id = %(worker_id)s and q.run_id = g.run_id
   and q.state <> 'done'
returning g.state
"""

PUT_OFF = """
update constellation.stagings
   set attempts = %(attempts)s, note = %(note)s,
       not_before = now() + make_interval(secs => %(delay_s)s), updated_at = now()
 where run_id = %(run_id)s and worker_id = %(worker_id)s
"""

STARVED = """
insert into constellation.stagings (run_id, scene_id, everything)
select r.id, s.id, true
  from constellation.runs r join constellation.scenes s on s.id = r.scene_id
 where r.id = %(run_id)s and s.uri ~ '^(https?|s3)://'
on conflict (run_id) do update set state = 'wanted', everything = true
"""

# The dispatcher tells Dagster, as it does of every run that is over in the queue.
END = f"""
update constellation.run_queue
   set state = 'done', exit_code = {NO_PIXELS}, finished_at = clock_timestamp()
 where run_id = %(run_id)s and state = 'queued'
"""

REQUEST = """
select j.params ->> 'model' as model, j.params, r.account
  from constellation.runs r join constellation.jobs j on j.id = r.job_id
 where r.id = %(run_id)s
"""

FORGET = """
delete from constellation.stagings g using constellation.run_queue q
 where q.run_id = g.run_id and q.state = 'done'
"""

IN_USE = """
select distinct s.uri, s.digest from constellation.stagings g
  join constellation.run_queue q on q.run_id = g.run_id
  join constellation.scenes s on s.id = g.scene_id
 where q.state <> 'done'
"""


@dataclass(frozen=True, slots=True)
class Order:
    """A run whose pixels are to be fetched. `attempts` have failed in a row; `everything` asks for
    tiles too that seem to be done.
    """

    run_id: UUID
    scene_id: UUID
    attempts: int
    everything: bool


@dataclass(frozen=True, slots=True)
class StagedRun:
    """What a run wants of its scene. `model` is None where only Dagster knows it yet."""

    model: str | None
    params: dict[str, Any]
    account: str = ""


def want(connection: Connection, run_id: UUID, scene_key: str | None = None) -> None:
    """Have a queued run wait for its pixels, if its scene is a remote one."""
    connection.execute(WANT, {"run_id": run_id, "scene_key": scene_key})


def take(
    connection: Connection, worker_id: UUID, busy: Collection[UUID], limit: int
) -> list[Order]:
    """Up to `limit` stagings for a worker to work on, beside those it is `busy` with."""
    args = {"worker_id": worker_id, "busy": list(busy), "limit": limit}
    return [Order(**row) for row in connection.execute(TAKE, args).fetchall()]


def request_of(connection: Connection, run_id: UUID) -> StagedRun:
    """What the run asks for."""
    row = connection.execute(REQUEST, {"run_id": run_id}).fetchone()
    return StagedRun(**row) if row else StagedRun(None, {})


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes that are there, of those that the run needs; whether any `came` since it was taken."""

    done: int
    wanted: int
    came: bool = True


def note(
    connection: Connection, run_id: UUID, worker_id: UUID, progress: Progress, state: str = "wanted"
) -> str | None:
    """Say how far it is, and that it is `ready` or `whole`; no state is taken back.

    Returns the state, None when the run is over or another worker's.
    """
    args = {
        "run_id": run_id,
        "worker_id": worker_id,
        "state": state,
        "done": progress.done,
        "wanted": progress.wanted,
        "came": progress.came,
    }
    row = connection.execute(PROGRESS, args).fetchone()
    return None if row is None else str(row["state"])


def put_off(
    connection: Connection,
    run_id: UUID,
    worker_id: UUID,
    *,
    attempts: int,
    note: str,
    delay_s: float,
) -> None:
    """Note a failed attempt; the next one comes no sooner than in `delay_s`."""
    connection.execute(
        PUT_OFF,
        {
            "run_id": run_id,
            "worker_id": worker_id,
            "attempts": attempts,
            "note": note[:500],
            "delay_s": delay_s,
        },
    )


def fail(connection: Connection, run_id: UUID, reason: str) -> bool:
    """End a waiting run that will not get its pixels; False when it does not wait.

    The caller holds the job's lock.
    """
    if connection.execute(END, {"run_id": run_id}).rowcount == 0:
        return False
    connection.execute(
        "update constellation.runs set error = %s where id = %s", (reason[:2000], run_id)
    )
    faults.record(connection, Fault(FaultKind.OWN, Decision.FAIL, reason, run_id=run_id))
    return True


def starved(connection: Connection, run_id: UUID) -> bool:
    """Have a run wait for its pixels again; False where nobody would fetch them."""
    return bool(connection.execute(STARVED, {"run_id": run_id}).rowcount == 1)


def in_use(connection: Connection) -> list[tuple[str, str]]:
    """URL and digest of the scenes that runs need or will need."""
    return [(row["uri"], row["digest"]) for row in connection.execute(IN_USE)]


def forget(connection: Connection) -> None:
    """Drop the stagings of runs that are over."""
    connection.execute(FORGET)
