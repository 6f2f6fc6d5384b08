"""Numbers over all accounts, for those who watch over an installation."""

from dataclasses import dataclass

from constellation_pipelines.store.database import Connection

# The count of tiles is the planner's, near enough: counting millions takes seconds.
TOTALS = """
select (select coalesce(jsonb_object_agg(state, n), '{}')
          from (select state, count(*) as n from constellation.jobs group by state) s) as jobs,
       (select coalesce(jsonb_object_agg(state, n), '{}')
          from (select state, count(*) as n from constellation.runs
                 where state not in ('COMPLETED', 'FAILED', 'CANCELLED') group by state) s) as runs,
       (select count(*) from constellation.run_queue where state = 'queued') as queued,
       (select coalesce(extract(epoch from clock_timestamp() - min(enqueued_at)), 0)::float8
          from constellation.run_queue where state = 'queued') as oldest_queued_s,
       (select count(*) from constellation.leases where released_at is null) as leases,
       (select count(*) from constellation.events where published_at is null) as unpublished,
       (select greatest(reltuples, 0)::bigint from pg_class
         where oid = 'constellation.tiles'::regclass) as tiles
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """Jobs and open runs by state; runs that wait and how long the oldest has; live leases; events
    that NATS does not have yet; about how many tiles there are.
    """

    jobs: dict[str, int]
    runs: dict[str, int]
    queued: int
    oldest_queued_s: float
    leases: int
    unpublished: int
    tiles: int


def totals(connection: Connection) -> Totals:
    """What there is now, of those rows that whoever asks may see."""
    row = connection.execute(TOTALS).fetchone()
    assert row is not None
    return Totals(**row)
