"""What was seen of a job: tiles of the last minute, faults by class, reasons of failed tiles."""

from datetime import datetime
from uuid import UUID

from constellation_pipelines.domain.progress import (
    RATE_WINDOW_S,
    FaultCount,
    Seen,
    TileErrorCount,
)
from constellation_pipelines.store.database import Connection

REASONS_SHOWN = 20

# One statement, so that all of it is of one moment.
SEEN = f"""
with moment as (select clock_timestamp() as at),
of_job as (
  select id, started_at, state from constellation.runs where job_id = %(id)s
), recent as (
  select count(*)::int as n from of_job r join constellation.tiles t on t.run_id = r.id
   where t.created_at > (select at from moment) - interval '{RATE_WINDOW_S} s'
), faults as (
  select f.kind, count(*)::int as count, max(f.at) as latest_at,
         (array_agg(f.message order by f.at desc))[1] as latest
    from constellation.faults f join of_job r on r.id = f.run_id group by f.kind
), reasons as (
  select t.error, count(*)::int as tiles
    from of_job r join constellation.tiles t on t.run_id = r.id
   where t.state = 'FAILED' group by t.error order by 2 desc, 1 limit {REASONS_SHOWN}
)
select moment.at, recent.n as recent,
       coalesce(least({RATE_WINDOW_S}, extract(epoch from moment.at - (
         select min(started_at) from of_job
          where state not in ('COMPLETED', 'FAILED', 'CANCELLED')))), 0)::float8 as window_s,
       (select jsonb_agg(to_jsonb(faults) order by count desc, kind) from faults) as faults,
       (select jsonb_agg(to_jsonb(reasons) order by tiles desc, error) from reasons) as tile_errors
  from moment, recent
"""


def seen(connection: Connection, job_id: UUID) -> Seen:
    """What is seen of a job now."""
    row = connection.execute(SEEN, {"id": job_id}).fetchone()
    assert row is not None  # it selects from one moment
    return Seen(
        row["at"],
        row["recent"],
        row["window_s"],
        tuple(
            FaultCount(**one | {"latest_at": datetime.fromisoformat(one["latest_at"])})
            for one in row["faults"] or ()
        ),
        tuple(TileErrorCount(**one) for one in row["tile_errors"] or ()),
    )
