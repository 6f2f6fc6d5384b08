"""The outbox: events as they were committed, and which of them NATS has stored."""

from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.event import Event
from constellation_pipelines.store.database import Connection

OUTBOX_CHANNEL = "constellation_outbox"

# Two transactions of different jobs may commit in another order than they took their ids. Whoever
# asks for "everything after id n" of all jobs also gets the late ones among this many ids before n.
LATE_IDS = 10_000

EMIT = "select constellation.emit(%(type)s, %(job_id)s, %(run_id)s, %(payload)s)"

COLUMNS = "id, type, ts as at, job_id, run_id, account, payload"

UNPUBLISHED = f"""
select {COLUMNS} from constellation.events
 where published_at is null and id <> all(%(in_flight)s)
 order by id
 limit %(limit)s
"""

MARK_PUBLISHED = """
update constellation.events set published_at = clock_timestamp() where id = any(%(ids)s)
"""

OF_JOB_AFTER = f"""
select {COLUMNS} from constellation.events
 where job_id = %(job_id)s and id > %(after)s
 order by id
 limit %(limit)s
"""

# With the late ones: ids below `after` that were published after it, or are not published yet.
AFTER = f"""
(select {COLUMNS} from constellation.events
  where id < %(after)s and id > %(after)s - {LATE_IDS}
    and (published_at is null
         or published_at > (select published_at from constellation.events where id = %(after)s)))
union all
(select {COLUMNS} from constellation.events
  where id > %(after)s
  order by id
  limit %(limit)s)
order by id
"""

MISSED = f"""
select {COLUMNS} from constellation.events
 where id > %(floor)s
   and (published_at is null
        or published_at > clock_timestamp() - make_interval(secs => %(within_s)s))
 order by id
"""

NEWEST_ID = "select coalesce(max(id), 0) as id from constellation.events"


def event_of(row: DictRow) -> Event:
    """The event in a row of COLUMNS."""
    return Event(**row)


def emit(
    connection: Connection,
    type: str,
    job_id: UUID,
    run_id: UUID | None,
    payload: dict[str, Any],
) -> None:
    """Write an event in the caller's transaction and wake the relay when it commits."""
    connection.execute(
        EMIT, {"type": type, "job_id": job_id, "run_id": run_id, "payload": Jsonb(payload)}
    )


def of_job_after(connection: Connection, job_id: UUID, after: int, limit: int) -> list[Event]:
    """Events of one job with an id above `after`, oldest first: complete, without gaps."""
    args = {"job_id": job_id, "after": after, "limit": limit}
    return [event_of(row) for row in connection.execute(OF_JOB_AFTER, args)]


def after(connection: Connection, after: int, limit: int) -> list[Event]:
    """Events of all jobs by id: up to `limit` above `after`, and late ones below it.

    While NATS is away every unpublished event below `after` counts as late, seen or not.
    """
    args = {"after": after, "limit": limit}
    return [event_of(row) for row in connection.execute(AFTER, args)]


def missed(connection: Connection, floor: int, within_s: float) -> list[Event]:
    """Events above id `floor` that are unpublished or were published in the last seconds, by id."""
    args = {"floor": floor, "within_s": within_s}
    return [event_of(row) for row in connection.execute(MISSED, args)]


def newest_id(connection: Connection) -> int:
    """The highest id there is, 0 when there is none."""
    row = connection.execute(NEWEST_ID).fetchone()
    assert row is not None
    return int(row["id"])
