"""What is deleted once it is old: in small batches, oldest first.

Kept for good are jobs, runs, tiles, leases and faults: lineage, reuse and the recount of usage are
made of them. Every statement is bounded by `limit` rows that it looks at or deletes, so that none
holds locks for long.
"""

from dataclasses import dataclass

from constellation_pipelines.store.database import Connection

# Ids grow with time, so old rows are the first ones: no index on a time is needed. What may not go
# yet is passed over, and is looked at anew in the next round. The newest event stays, for what it
# says of the ids that were given.
EVENTS = """
with batch as (
  select id, ts, published_at, job_id from constellation.events
   where id > %(after)s order by id limit %(limit)s
), old as (
  select b.id from batch b left join constellation.jobs j on j.id = b.job_id
   where b.published_at < clock_timestamp() - make_interval(secs => %(kept_s)s::float8)
     and (j.id is null or j.state in ('COMPLETED', 'FAILED', 'CANCELLED'))
     and b.id < (select max(id) from constellation.events)
), gone as (
  delete from constellation.events e using old where e.id = old.id returning e.id
)
select (select count(*) from gone)::int as deleted, max(id) as last,
       count(*) = %(limit)s
         and max(ts) < clock_timestamp() - make_interval(secs => %(kept_s)s::float8) as more
  from batch
"""

AUDIT = """
with batch as (
  select id, at from constellation.audit_events
   where id > %(after)s order by id limit %(limit)s
), gone as (
  delete from constellation.audit_events a using batch b
   where a.id = b.id
     and b.at < clock_timestamp() - make_interval(secs => %(kept_s)s::float8)
  returning a.id
)
select (select count(*) from gone)::int as deleted, max(id) as last,
       count(*) = %(limit)s
         and max(at) < clock_timestamp() - make_interval(secs => %(kept_s)s::float8) as more
  from batch
"""

SESSIONS = """
delete from constellation.sessions where hash in (
  select hash from constellation.sessions
   where least(ended_at, expires_at)
           < clock_timestamp() - make_interval(secs => %(kept_s)s::float8)
   limit %(limit)s for update skip locked)
"""

DELIVERIES = """
delete from constellation.webhook_deliveries where id in (
  select id from constellation.webhook_deliveries
   where coalesce(delivered_at, gave_up_at)
           < clock_timestamp() - make_interval(secs => %(kept_s)s::float8)
   limit %(limit)s for update skip locked)
"""

# The job stays; its key may name another one from then on.
IDEMPOTENCY_KEYS = """
update constellation.jobs set idempotency_key = null, request_digest = null where id in (
  select id from constellation.jobs
   where idempotency_key is not null
     and finished_at < clock_timestamp() - make_interval(secs => %(kept_s)s::float8)
   limit %(limit)s for update skip locked)
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """How much was deleted, and where the next batch begins; `after` is None where this was the
    last one.
    """

    deleted: int
    after: int | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What deletes rows of one kind. With `by_id` its statement tells where the next batch begins;
    any other begins with the oldest each time, for what was there is gone.
    """

    name: str
    statement: str
    kept_s: float
    by_id: bool = False

    def batch(self, connection: Connection, after: int, limit: int) -> Batch:
        """One batch, of rows with ids above `after` where it goes by them."""
        args = {"after": after, "kept_s": self.kept_s, "limit": limit}
        done = connection.execute(self.statement, args)
        if not self.by_id:
            return Batch(done.rowcount, 0 if done.rowcount == limit else None)
        row = done.fetchone()
        assert row is not None  # it counts, so there is always one row
        return Batch(row["deleted"], row["last"] if row["more"] else None)
