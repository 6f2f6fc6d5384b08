"""Events are found again after any id, also those that commit late."""

from uuid import UUID, uuid4

import psycopg

from constellation_pipelines.domain.event import Event
from constellation_pipelines.store import events
from constellation_pipelines.store.database import Database


def emit(database: Database, job: UUID) -> int:
    with database.transaction() as connection:
        events.emit(connection, "job.noted", job, None, {})
        return events.newest_id(connection)


def ids(found: list[Event]) -> list[int]:
    return [event.id for event in found]


def publish(database: Database, *wanted: int) -> None:
    database.execute(events.MARK_PUBLISHED, {"ids": list(wanted)})


def test_events_of_a_job_follow_an_id_in_pages(database: Database) -> None:
    job, other = uuid4(), uuid4()
    mine = []
    for _ in range(3):
        mine.append(emit(database, job))
        emit(database, other)
    with database.transaction() as connection:
        assert ids(events.of_job_after(connection, job, 0, 10)) == mine
        assert ids(events.of_job_after(connection, job, mine[0], 1)) == mine[1:2]
        assert ids(events.of_job_after(connection, job, mine[2], 10)) == []


def test_an_event_that_commits_late_is_not_passed_over(
    database: Database, database_url: str
) -> None:
    slow_job, quick_job = uuid4(), uuid4()
    with psycopg.connect(database_url) as slow:
        slow.execute("select constellation.emit('job.noted', %s, null, '{}')", (slow_job,))
        quick = emit(database, quick_job)  # a higher id, committed first
        publish(database, quick)
    with database.transaction() as connection:
        (late,) = events.of_job_after(connection, slow_job, 0, 10)
        assert late.id < quick
        assert ids(events.after(connection, quick, 10)) == [late.id]
    publish(database, late.id)
    with database.transaction() as connection:
        assert ids(events.after(connection, quick, 10)) == [late.id]  # published after it
        assert ids(events.after(connection, late.id, 10)) == [quick]


def test_events_of_one_job_commit_in_the_order_of_their_ids(
    database: Database, database_url: str
) -> None:
    job = uuid4()
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        first.execute("select constellation.emit('job.noted', %s, null, '{}')", (job,))
        second.execute("set lock_timeout = '200ms'")
        try:
            second.execute("select constellation.emit('job.noted', %s, null, '{}')", (job,))
        except psycopg.errors.LockNotAvailable:
            waited = True
        else:
            waited = False
    assert waited


def test_what_was_missed_is_unpublished_or_published_lately(database: Database) -> None:
    old, lately, unpublished = (emit(database, uuid4()) for _ in range(3))
    publish(database, old, lately)
    database.execute(
        "update constellation.events set published_at = now() - interval '1 hour' where id = %s",
        (old,),
    )
    with database.transaction() as connection:
        assert ids(events.missed(connection, 0, 60)) == [lately, unpublished]
        assert ids(events.missed(connection, lately, 60)) == [unpublished]
