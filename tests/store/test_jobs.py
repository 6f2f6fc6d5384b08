"""Jobs and their runs: submitted once, summed, cancelled, retried."""

import threading
from datetime import datetime
from uuid import UUID

import pytest

from constellation_pipelines.domain.errors import Conflict, NotFound
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.job import Job, JobParams
from constellation_pipelines.domain.states import JobState, RunState
from constellation_pipelines.store import devices, jobs, plans, queue, runs
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.jobs import NewJob
from constellation_pipelines.store.runs import NewRun
from tests.store.test_tiles import LEFT, commit, new_model, new_scene, row, work


@pytest.fixture
def model_id(database: Database) -> UUID:
    return new_model(database)


@pytest.fixture
def scene_ids(database: Database) -> list[UUID]:
    return [new_scene(database), new_scene(database)]


@pytest.fixture
def planned(model_id: UUID, scene_ids: list[UUID]) -> list[NewRun]:
    return [NewRun(scene_ids[0], model_id, 10, 3), NewRun(scene_ids[1], model_id, 20, 0)]


def new_job(key: str | None = None, digest: str = "d", account: str = "local") -> NewJob:
    return NewJob("a job", JobParams("m@1", ("a", "b")), 5, account, key, digest)


def submit(database: Database, planned: list[NewRun], job: NewJob | None = None) -> UUID:
    with database.transaction() as connection:
        made, _ = jobs.submit(connection, job or new_job(), planned)
    return made.id


def find(database: Database, job_id: UUID) -> Job:
    with database.transaction() as connection:
        return jobs.find(connection, job_id)


def run_ids(database: Database, job_id: UUID) -> list[UUID]:
    with database.transaction() as connection:
        return [run.id for run in runs.of_job(connection, job_id)]


def set_state(database: Database, run_id: UUID, state: str, error: str | None = None) -> None:
    """What the trigger on Dagster's runs does."""
    with database.transaction() as connection:
        row = connection.execute(
            "update constellation.runs set state = %s, error = %s where id = %s returning job_id",
            (state, error, run_id),
        ).fetchone()
        assert row is not None
        connection.execute("select constellation.settle_job(%s)", (row["job_id"],))


def event_types(database: Database, job_id: UUID) -> list[str]:
    rows = database.fetch_all(
        "select type from constellation.events where job_id = %s order by id", (job_id,)
    )
    return [row["type"] for row in rows]


# ---- submitting ----


def test_what_was_submitted_is_what_is_found(database: Database, planned: list[NewRun]) -> None:
    with database.transaction() as connection:
        made, is_new = jobs.submit(connection, new_job(), planned)
    assert is_new
    assert find(database, made.id) == made


def test_a_submitted_job_has_a_pending_run_per_scene_and_an_event(
    database: Database, planned: list[NewRun], scene_ids: list[UUID]
) -> None:
    job_id = submit(database, planned)
    job = find(database, job_id)
    assert (job.state, job.origin, job.priority) == (JobState.PENDING, "api", 5)
    assert (job.tiles_planned, job.tiles_reused) == (30, 3)
    assert (job.tiles_completed, job.tiles_failed, job.area_km2) == (0, 0, 0)
    assert job.params["scenes"] == ["a", "b"]
    with database.transaction() as connection:
        of_job = runs.of_job(connection, job_id)
    assert [run.scene_id for run in of_job] == scene_ids
    assert {run.state for run in of_job} == {RunState.PENDING}
    assert event_types(database, job_id) == ["job.submitted"]


def test_a_submission_wakes_the_dispatcher_once_it_is_committed(
    database: Database, planned: list[NewRun]
) -> None:
    listener = database.listen("constellation_jobs", "constellation_outbox")
    job_id = submit(database, planned)
    heard = [(note.channel, note.payload) for note in listener.notifies(timeout=5, stop_after=2)]
    listener.close()
    assert ("constellation_jobs", str(job_id)) in heard
    assert ("constellation_outbox", "") in heard


def test_the_same_key_and_request_give_the_same_job(
    database: Database, planned: list[NewRun]
) -> None:
    first = submit(database, planned, new_job("key"))
    assert submit(database, planned, new_job("key")) == first
    assert len(run_ids(database, first)) == 2
    assert event_types(database, first) == ["job.submitted"]


def test_the_same_key_with_another_request_is_a_conflict(
    database: Database, planned: list[NewRun]
) -> None:
    submit(database, planned, new_job("key", "one"))
    with pytest.raises(Conflict, match="another request"):
        submit(database, planned, new_job("key", "two"))


def test_another_account_may_use_the_same_key(database: Database, planned: list[NewRun]) -> None:
    mine = submit(database, planned, new_job("key"))
    assert submit(database, planned, new_job("key", account="other")) != mine


def test_requests_at_the_same_time_with_one_key_make_one_job(
    database: Database, planned: list[NewRun]
) -> None:
    found: list[UUID] = []
    gate = threading.Barrier(6)

    def work() -> None:
        gate.wait()
        found.append(submit(database, planned, new_job("key")))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    row = database.fetch_one("select count(*) as n from constellation.jobs")
    assert row == {"n": 1}


# ---- states ----


def test_a_job_follows_its_runs(database: Database, planned: list[NewRun]) -> None:
    job_id = submit(database, planned)
    first, second = run_ids(database, job_id)
    set_state(database, first, "QUEUED")
    assert find(database, job_id).state is JobState.PENDING
    set_state(database, first, "RUNNING")
    assert find(database, job_id).state is JobState.RUNNING
    set_state(database, first, "COMPLETED")
    set_state(database, second, "RUNNING")
    assert find(database, job_id).state is JobState.RUNNING
    set_state(database, second, "COMPLETED")
    job = find(database, job_id)
    assert job.state is JobState.COMPLETED
    assert job.started_at is not None
    assert job.finished_at is not None
    assert event_types(database, job_id) == ["job.submitted", "job.started", "job.completed"]


def test_a_failed_run_fails_the_job_with_its_reason(
    database: Database, planned: list[NewRun]
) -> None:
    job_id = submit(database, planned)
    first, second = run_ids(database, job_id)
    set_state(database, first, "FAILED", "no such file")
    set_state(database, second, "COMPLETED")
    job = find(database, job_id)
    assert (job.state, job.error) == (JobState.FAILED, "no such file")


def test_an_unknown_job_or_run_is_not_found(database: Database) -> None:
    with database.transaction() as connection:
        for find_one in (jobs.find, runs.find, jobs.cancel):
            with pytest.raises(NotFound, match="there is no"):
                find_one(connection, new_id())


# ---- cancelling ----


def test_cancelling_a_job_nobody_began_ends_it_at_once(
    database: Database, planned: list[NewRun]
) -> None:
    job_id = submit(database, planned)
    with database.transaction() as connection:
        job = jobs.cancel(connection, job_id)
    assert job.state is JobState.CANCELLED
    assert job.started_at is None
    assert event_types(database, job_id) == [
        "job.submitted",
        "run.cancelled",
        "run.cancelled",
        "job.cancelled",
    ]
    with database.transaction() as connection:
        assert jobs.cancel(connection, job_id).state is JobState.CANCELLED


def test_cancelling_a_job_under_way_asks_the_dispatcher(
    database: Database, planned: list[NewRun]
) -> None:
    job_id = submit(database, planned)
    first, second = run_ids(database, job_id)
    set_state(database, first, "QUEUED")
    listener = database.listen("constellation_cancel")
    with database.transaction() as connection:
        job = jobs.cancel(connection, job_id)
    assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == [str(job_id)]
    listener.close()
    assert job.state is JobState.PENDING
    with database.transaction() as connection:
        assert runs.find(connection, first).state is RunState.QUEUED
        assert runs.find(connection, second).state is RunState.CANCELLED
    assert "job.started" not in event_types(database, job_id)
    asked = database.fetch_one(
        "select cancel_requested_at from constellation.jobs where id = %s", (job_id,)
    )
    assert asked is not None
    assert isinstance(asked["cancel_requested_at"], datetime)
    set_state(database, first, "CANCELLED")
    assert find(database, job_id).state is JobState.CANCELLED


def test_a_completed_job_cannot_be_cancelled(database: Database, planned: list[NewRun]) -> None:
    job_id = submit(database, planned)
    for run_id in run_ids(database, job_id):
        set_state(database, run_id, "COMPLETED")
    with database.transaction() as connection, pytest.raises(Conflict, match="already COMPLETED"):
        jobs.cancel(connection, job_id)


# ---- retrying ----


def test_a_retried_job_counts_only_the_newest_run_of_each_scene(
    database: Database, planned: list[NewRun], model_id: UUID, scene_ids: list[UUID]
) -> None:
    job_id = submit(database, planned)
    first, second = run_ids(database, job_id)
    set_state(database, first, "COMPLETED")
    set_state(database, second, "FAILED", "lost its device")
    assert find(database, job_id).state is JobState.FAILED
    with database.transaction() as connection:
        job = jobs.retry(connection, job_id, [NewRun(scene_ids[1], model_id, 20, 15, 2)])
    assert job.state is JobState.RUNNING  # one of its scenes is done, one is open
    assert (job.tiles_planned, job.tiles_reused) == (30, 18)
    assert job.error is None
    assert job.finished_at is None
    with database.transaction() as connection:
        done, again = runs.newest_of_job(connection, job_id)
        assert len(runs.of_job(connection, job_id)) == 3
    assert done.id == first
    assert again.attempt == 2
    set_state(database, again.id, "COMPLETED")
    assert find(database, job_id).state is JobState.COMPLETED
    assert event_types(database, job_id)[-3:] == ["job.retried", "job.started", "job.completed"]


def test_a_job_that_failed_again_gives_the_reason_of_its_newest_run(
    database: Database, planned: list[NewRun]
) -> None:
    job_id = submit(database, planned[:1])
    set_state(database, run_ids(database, job_id)[0], "FAILED", "the engine died")
    with database.transaction() as connection:
        jobs.retry(connection, job_id, planned[:1])
    set_state(database, run_ids(database, job_id)[1], "FAILED", "the file is gone")
    assert find(database, job_id).error == "the file is gone"


def test_a_job_keeps_its_area_when_another_computes_the_same_tiles_again(
    database: Database,
) -> None:
    first = work(database)
    commit(database, first.lease, row(LEFT))
    with database.transaction() as connection:
        job_id = runs.find(connection, first.lease.run_id).job_id
        assert jobs.find(connection, job_id).area_km2 == 3077
        plans.record_metrics(connection, first.lease.run_id, {"area_km2": 3077.0})
        queue.finish(connection, first.lease, 0)
    second = work(database, first.scene_id, first.model_id)
    commit(database, second.lease, row(LEFT))
    assert find(database, job_id).area_km2 == 3077


def test_a_cancelled_job_can_be_retried(
    database: Database, planned: list[NewRun], model_id: UUID
) -> None:
    job_id = submit(database, planned)
    with database.transaction() as connection:
        jobs.cancel(connection, job_id)
        job = jobs.retry(connection, job_id, planned)
    assert job.state is JobState.PENDING
    asked = database.fetch_one(
        "select cancel_requested_at from constellation.jobs where id = %s", (job_id,)
    )
    assert asked == {"cancel_requested_at": None}


def test_a_job_that_did_not_fail_cannot_be_retried(
    database: Database, planned: list[NewRun]
) -> None:
    job_id = submit(database, planned)
    with database.transaction() as connection, pytest.raises(Conflict, match="is PENDING"):
        jobs.retry(connection, job_id, planned)


def test_a_job_from_dagster_is_retried_there(database: Database, planned: list[NewRun]) -> None:
    job_id = submit(database, planned)
    database.execute(
        "update constellation.jobs set origin = 'dagster', state = 'FAILED' where id = %s",
        (job_id,),
    )
    with database.transaction() as connection, pytest.raises(Conflict, match="in Dagster"):
        jobs.retry(connection, job_id, planned)


# ---- devices ----


def test_a_device_says_who_holds_it_and_whether_its_worker_lives(
    database: Database, planned: list[NewRun]
) -> None:
    job_id = submit(database, planned)
    run_id = run_ids(database, job_id)[0]
    worker, gpu = new_id(), new_id()
    database.execute(
        "insert into constellation.workers (id, host, pid) values (%s, 'h', 1)", (worker,)
    )
    database.execute(
        "insert into constellation.gpus "
        "(id, uuid, host, idx, name, total_mem_mb, simulated, worker_id, engine_ready) "
        "values (%s, 'GPU-1', 'h', 0, 'CPU', 1, true, %s, true)",
        (gpu, worker),
    )
    assert one_device(database) == (True, True, None, None)
    database.execute(
        "insert into constellation.leases (fence, gpu_id, worker_id, run_id, expires_at) "
        "values (1, %s, %s, %s, now() + interval '1 min')",
        (gpu, worker, run_id),
    )
    assert one_device(database) == (True, True, run_id, job_id)
    database.execute("update constellation.leases set released_at = now()")
    database.execute("update constellation.workers set heartbeat_at = now() - interval '1 min'")
    assert one_device(database) == (False, False, None, None)


def one_device(database: Database) -> tuple[bool, bool, UUID | None, UUID | None]:
    with database.transaction() as connection:
        (found,) = devices.list_all(connection)
    assert found.simulated
    holder = next(iter(found.holders), None)
    run_id, job_id = (None, None) if holder is None else (holder.run_id, holder.job_id)
    return found.online, found.engine_ready, run_id, job_id
