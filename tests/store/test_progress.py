"""How far a job is: what was committed lately, what went wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.domain.job import Job
from constellation_pipelines.domain.progress import Progress, Seen, progress
from constellation_pipelines.domain.states import JobState
from constellation_pipelines.store import faults, jobs, tiles
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.progress import seen
from tests.store.test_tiles import LEFT, RIGHT, Work, row, work

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job_id_of(database: Database, of: Work) -> UUID:
    found = database.fetch_one(
        "select job_id from constellation.runs where id = %s", (of.lease.run_id,)
    )
    assert found is not None
    return UUID(str(found["job_id"]))


def look(database: Database, job_id: UUID) -> tuple[Job, Seen]:
    with database.transaction() as connection:
        return jobs.find(connection, job_id), seen(connection, job_id)


def begin(database: Database, of: Work, ago_s: float) -> None:
    database.execute("select constellation.begin_run(%s)", (of.lease.run_id,))
    database.execute(
        "update constellation.runs set started_at = now() - make_interval(secs => %s)"
        " where id = %s",
        (ago_s, of.lease.run_id),
    )


def test_tiles_of_the_last_minute_give_rate_and_end(database: Database) -> None:
    mine = work(database)
    job_id = job_id_of(database, mine)
    begin(database, mine, 3600)
    with database.transaction() as connection:
        tiles.commit(connection, mine.lease, [row(LEFT)])
    job, found = look(database, job_id)
    assert (found.recent, found.window_s) == (1, 60)
    far = progress(job, found)
    assert (far.tiles_done, far.tiles_planned) == (1, 2)
    assert far.tiles_per_s == pytest.approx(1 / 60)
    assert far.eta_at is not None
    assert (far.eta_at - found.at).total_seconds() == pytest.approx(60)
    database.execute("update constellation.tiles set created_at = created_at - interval '61 s'")
    job, found = look(database, job_id)
    far = progress(job, found)
    assert (far.tiles_per_s, far.eta_at) == (0, None), "silence is no end that can be told"


def test_a_job_that_began_just_now_has_a_shorter_minute(database: Database) -> None:
    mine = work(database)
    begin(database, mine, 10)
    _, found = look(database, job_id_of(database, mine))
    assert 10 <= found.window_s < 60


def test_errors_are_counted_by_class(database: Database) -> None:
    mine = work(database)
    run_id = mine.lease.run_id
    with database.transaction() as connection:
        for number in range(3):
            fault = Fault(FaultKind.TRANSIENT, Decision.RETRY, f"read {number}", run_id=run_id)
            faults.record(connection, fault)
        oom = Fault(FaultKind.OUT_OF_MEMORY, Decision.HALVE_BATCH, "too big", run_id=run_id)
        faults.record(connection, oom)
        tiles.commit(
            connection, mine.lease, [row(LEFT, error="bad block"), row(RIGHT, error="bad block")]
        )
    _, found = look(database, job_id_of(database, mine))
    assert [(one.kind, one.count, one.latest) for one in found.faults] == [
        ("transient", 3, "read 2"),
        ("out_of_memory", 1, "too big"),
    ]
    assert [(one.error, one.tiles) for one in found.tile_errors] == [("bad block", 2)]


def test_a_job_that_does_not_run_has_no_rate(database: Database) -> None:
    mine = work(database)
    job, found = look(database, job_id_of(database, mine))
    over = replace(job, state=JobState.COMPLETED)
    for one in (job, over):
        assert progress(one, found) == Progress(0, 2, None, None, (), ())
    running = replace(job, state=JobState.RUNNING)
    far = progress(running, Seen(NOW, 0, 0.0))
    assert (far.tiles_per_s, far.eta_at) == (None, None), "its one run is queued again"
    done = progress(replace(running, tiles_completed=2), Seen(NOW, 2, 1.0))
    assert done.eta_at == NOW + timedelta(0)
