"""Waiting runs: why they wait, where they stand, about when they start."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.fleet import (
    Fleet,
    FleetDevice,
    HeldRun,
    Measured,
    Staging,
    WaitingRun,
)
from constellation_pipelines.domain.outlook import Outlook, Wait, outlooks
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.devices import WORKER_ALIVE_S
from constellation_pipelines.store.tenancy import seeing_all

LOOKED_AT = 2000  # runs of the queue that are looked at

OF_RUNS = """
select r.id, q.state is not distinct from 'queued' as queued
  from constellation.runs r left join constellation.run_queue q on q.run_id = r.id
 where r.id = any(%(ids)s) and (q.state = 'queued' or q.run_id is null and r.state = 'PENDING')
"""

TILES_LEFT = """
greatest(coalesce(r.tiles_planned - r.tiles_reused - r.tiles_completed - r.tiles_failed
                  - r.tiles_skipped, 0), 0)
"""

WAITING = f"""
select q.run_id, coalesce(q.account, '') as account, q.priority, q.enqueued_at, q.gpu_count,
       q.mem_mb, q.model_digest, q.chip_px, {TILES_LEFT} as tiles_left, q.not_before,
       q.serial_job_id, q.reserved_worker_id,
       case when g.run_id is not null then jsonb_build_object(
         'host', split_part(s.uri, '/', 3), 'done_bytes', g.done_bytes,
         'wanted_bytes', g.wanted_bytes, 'note', g.note) end as staging,
       g.not_before as again_at
  from constellation.run_queue q left join constellation.runs r on r.id = q.run_id
  left join constellation.stagings g on g.run_id = q.run_id and g.state = 'wanted'
  left join constellation.scenes s on s.id = g.scene_id
 where q.state = 'queued'
 order by q.priority desc, q.enqueued_at, q.run_id limit %(limit)s
"""

HELD = f"""
select q.run_id, coalesce(q.account, '') as account, q.gpu_count, q.model_digest, q.chip_px,
       {TILES_LEFT} as tiles_left, q.serial_job_id, l.gpu_ids, l.mem_mb
  from constellation.run_queue q left join constellation.runs r on r.id = q.run_id
 cross join lateral (
   select array_agg(gpu_id) as gpu_ids, array_agg(mem_mb) as mem_mb
     from constellation.leases where fence = q.fence and released_at is null) l
 where q.state = 'leased'
"""

ALIVE = f"""
w.stopped_at is null and w.heartbeat_at > clock_timestamp() - interval '{WORKER_ALIVE_S} s'
"""

DEVICES = f"""
select g.id, g.worker_id, g.name, g.total_mem_mb, g.slots, g.health = 'ok' as healthy,
       g.engine_ready as ready
  from constellation.gpus g join constellation.workers w on w.id = g.worker_id
 where {ALIVE} order by g.host, g.idx
"""

MEASURED = """
select model_digest, device_name, chip_px, mem_mb, device_s / nullif(tiles, 0) as tile_s
  from constellation.profiles where model_digest = any(%(digests)s)
"""

LIMITS = f"""
select clock_timestamp() as at,
       (select running_runs from constellation.limits) as running_runs,
       (select running_runs_per_account from constellation.limits) as per_account,
       (select count(*) from constellation.workers w where {ALIVE}) as workers,
       (select coalesce(jsonb_object_agg(name, max_running_runs), '{{}}')
          from constellation.accounts where max_running_runs is not null) as accounts,
       (select coalesce(jsonb_object_agg(name, gpu_hours_spent_until), '{{}}')
          from constellation.accounts where gpu_hours_spent_until > clock_timestamp()) as spent
"""

PENDING = Outlook(Wait.PENDING, "it has not been handed to Dagster yet")
FAR_BACK = Outlook(
    Wait.FAR_BACK, f"it is not among the first {LOOKED_AT:,} runs by priority and age"
)


def of_runs(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, Outlook]:
    """The outlooks of those of these runs that wait: in the queue, or to get there."""
    rows = connection.execute(OF_RUNS, {"ids": list(run_ids)}).fetchall()
    queued = {row["id"] for row in rows if row["queued"]}
    found = {row["id"]: PENDING for row in rows}
    if queued:
        with seeing_all(connection):  # a place in the queue depends on everyone's runs
            whole = fleet(connection)
        found |= dict.fromkeys(queued, FAR_BACK) | outlooks(whole, queued)
    return found


def fleet(connection: Connection, more_digests: Sequence[str] = ()) -> Fleet:
    """The fleet as it is now, with the first runs of the queue.

    What was measured is of the models of these runs and of `more_digests`.
    """
    waiting = connection.execute(WAITING, {"limit": LOOKED_AT}).fetchall()
    held = connection.execute(HELD).fetchall()
    digests = {row["model_digest"] for row in (*waiting, *held) if row["model_digest"]}
    digests |= {*more_digests}
    measured = connection.execute(MEASURED, {"digests": list(digests)}).fetchall()
    limits = connection.execute(LIMITS).fetchone()
    assert limits is not None  # it selects from nothing, so there is always one row
    return Fleet(
        at=limits["at"],
        workers=limits["workers"],
        waiting=tuple(waiting_run(row) for row in waiting),
        held=tuple(held_run(row) for row in held),
        devices=tuple(FleetDevice(**row) for row in connection.execute(DEVICES)),
        measured={
            (row["model_digest"], row["device_name"], row["chip_px"]): Measured(
                row["mem_mb"], row["tile_s"]
            )
            for row in measured
        },
        limit=limits["running_runs"],
        account_limit=limits["per_account"],
        account_limits=limits["accounts"],
        spent_until={
            account: datetime.fromisoformat(until) for account, until in limits["spent"].items()
        },
    )


def waiting_run(row: dict[str, Any]) -> WaitingRun:
    """The run in a row of WAITING."""
    staging, again_at = row.pop("staging"), row.pop("again_at")
    found = None if staging is None else Staging(**staging, again_at=again_at)
    return WaitingRun(**row, staging=found)


def held_run(row: dict[str, object]) -> HeldRun:
    """The run in a row of HELD."""
    ids, mem_mb = row.pop("gpu_ids") or (), row.pop("mem_mb") or ()
    return HeldRun(**row, devices=dict(zip(ids, mem_mb, strict=True)))  # type: ignore[arg-type,call-overload]
