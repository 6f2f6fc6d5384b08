"""Tiles of runs that did not complete, taken over by a run that can vouch for their pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from constellation_pipelines.store import queue, tiles
from constellation_pipelines.store.database import Connection

# A run that is still held could yet write, whatever its state says.
UNFINISHED = """
  r.state in ('FAILED', 'CANCELLED')
  and not exists (select 1 from constellation.run_queue q
                   where q.run_id = r.id and q.state = 'leased')
"""

EARLIER = f"""
select r.id, r.created_at from constellation.runs r
  join constellation.runs own on own.job_id = r.job_id and own.scene_id = r.scene_id
 where own.id = %(run_id)s and r.id <> own.id and {UNFINISHED}
 order by r.created_at desc, r.id desc
"""

TILES = """
select digest from constellation.tiles
 where run_id = %(earlier_id)s and digest = any(%(digests)s) and state <> 'FAILED'
"""

ADOPT = f"""
update constellation.tiles t
   set run_id = own.id, job_id = own.job_id, account = own.account
  from constellation.runs own, constellation.runs r
 where own.id = %(run_id)s and r.id = t.run_id and t.state <> 'FAILED'
   and t.digest = any(%(digests)s) and r.id <> own.id and {UNFINISHED}
returning t.digest, r.id as earlier_id
"""

OTHERS = """
select digest from constellation.tiles
 where digest = any(%(digests)s) and state <> 'FAILED' and run_id <> %(run_id)s
"""

COUNT_REUSED = "update constellation.runs set tiles_reused = %(reused)s where id = %(run_id)s"

# The earlier run's files are gone, and its area is counted with the run that has its tiles now.
FORGET = """
update constellation.runs set metrics = (metrics - 'outputs' - 'area_km2') || %(note)s
 where id = %(earlier_id)s
"""


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run of the same job and scene that failed or was cancelled. `date` is yyyy-mm-dd."""

    id: UUID
    date: str


def earlier_runs(connection: Connection, run_id: UUID) -> list[EarlierRun]:
    """The unfinished runs that a run may build on, newest first."""
    rows = connection.execute(EARLIER, {"run_id": run_id}).fetchall()
    return [EarlierRun(row["id"], row["created_at"].strftime("%Y-%m-%d")) for row in rows]


def tiles_of(connection: Connection, earlier_id: UUID, digests: Sequence[str]) -> set[str]:
    """Which of these tiles an earlier run has a result of."""
    args = {"earlier_id": earlier_id, "digests": list(digests)}
    return {row["digest"] for row in connection.execute(TILES, args)}


def adopt(connection: Connection, lease: queue.Lease, digests: Iterable[str]) -> set[str]:
    """Take these tiles over from unfinished runs; return which passed. Raises LeaseLost.

    The pixels must lie in the new run's working raster by now. Counts of both sides follow.
    """
    tiles.lock_job(connection, lease.run_id)
    queue.guard(connection, lease)
    args: dict[str, Any] = {"run_id": lease.run_id, "digests": list(digests)}
    rows = connection.execute(ADOPT, args).fetchall()
    for run_id in {lease.run_id, *(row["earlier_id"] for row in rows)}:
        connection.execute(tiles.COUNT, {"run_id": run_id})
    return {row["digest"] for row in rows}


def settle(
    connection: Connection, lease: queue.Lease, computed: Sequence[str], planned: Sequence[str]
) -> set[str]:
    """Settle whose the planned tiles are at a run's end; return those that are another run's.

    Of the tiles it computed it takes over what a run had committed first that has failed since; the
    rest counts as reused.
    """
    adopt(connection, lease, computed)
    args = {"run_id": lease.run_id, "digests": list(planned)}
    others = {row["digest"] for row in connection.execute(OTHERS, args)}
    connection.execute(COUNT_REUSED, {"run_id": lease.run_id, "reused": len(others)})
    return others


def forget(connection: Connection, lease: queue.Lease, earlier_id: UUID) -> None:
    """Note on an earlier run that its results are this run's now."""
    queue.guard(connection, lease)
    note = {"continued_by": str(lease.run_id)}
    connection.execute(FORGET, {"earlier_id": earlier_id, "note": Jsonb(note)})
