"""What Dagster asks of our coordinator and launcher, and what our tables then say."""

from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from dagster._core.launcher.base import ResumeRunContext, WorkerStatus
from dagster._core.run_coordinator.base import SubmitRunContext

from constellation_pipelines.dispatcher.dagster_door import remote_origin
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.launcher import tags
from constellation_pipelines.launcher.compute_logs import ConstellationComputeLogManager
from constellation_pipelines.launcher.coordinator import ConstellationRunCoordinator
from constellation_pipelines.launcher.launcher import ConstellationRunLauncher
from constellation_pipelines.store import plans, queue, run_ends
from constellation_pipelines.store.database import Database
from tests.store.test_queue import claimed, worker


@dg.op
def nothing() -> None: ...


@dg.job
def idle() -> None:
    nothing()


def make(instance: dg.DagsterInstance, **run_tags: str) -> dg.DagsterRun:
    named = {f"constellation/{name}": value for name, value in run_tags.items()}
    workspace = Path(instance.root_directory) / "workspace.yaml"
    origin = remote_origin(workspace, "__repository__").get_job_origin(idle.name)
    return instance.create_run_for_job(
        idle, run_id=str(new_id()), tags=named, remote_job_origin=origin
    )


def submit(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    context = SubmitRunContext(run, workspace=None)  # type: ignore[arg-type]  # we never read it
    return instance.run_coordinator.submit_run(context)


def state(database: Database, run_id: str) -> tuple[str, str, str]:
    """State of the run, state of its job, where the job came from."""
    row = database.fetch_one(
        "select r.state, j.state as job_state, j.origin from constellation.runs r "
        "join constellation.jobs j on j.id = r.job_id where r.id = %s",
        (run_id,),
    )
    assert row is not None
    return row["state"], row["job_state"], row["origin"]


def test_a_submitted_run_waits_as_queued(instance: dg.DagsterInstance, database: Database) -> None:
    run = submit(instance, make(instance))
    assert run.status == dg.DagsterRunStatus.QUEUED
    assert state(database, run.run_id) == ("QUEUED", "PENDING", "dagster")
    health = instance.run_launcher.check_run_worker_health(run)
    assert (health.status, health.msg) == (WorkerStatus.RUNNING, "waiting for a device")


def test_submitting_twice_queues_once(instance: dg.DagsterInstance, database: Database) -> None:
    run = make(instance)
    submit(instance, run)
    submit(instance, run)
    rows = database.fetch_all("select run_id, attempt from constellation.run_queue")
    assert rows == [{"run_id": UUID(run.run_id), "attempt": 1}]


def test_every_status_of_dagster_reaches_our_tables(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    worker_id = worker(database)
    claimed(database, worker_id)
    seen = []
    for status in ("STARTING", "STARTED", "SUCCESS"):
        database.execute(
            "update dagster.runs set status = %s where run_id = %s", (status, run.run_id)
        )
        seen.append(state(database, run.run_id)[:2])
    assert seen == [("STARTING", "RUNNING"), ("RUNNING", "RUNNING"), ("COMPLETED", "COMPLETED")]
    events = database.fetch_all("select type from constellation.events order by id")
    assert [event["type"] for event in events] == [
        *("job.submitted", "run.queued", "run.starting", "job.started"),
        *("run.started", "run.completed", "job.completed"),
    ]


def test_a_run_that_has_begun_its_work_is_running_before_dagster_says_so(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    claimed(database, worker(database))
    with database.transaction() as connection:
        plans.begin(connection, UUID(run.run_id))
        plans.begin(connection, UUID(run.run_id))
    seen = [state(database, run.run_id)[:2]]
    for status in ("STARTING", "STARTED", "SUCCESS"):
        database.execute(
            "update dagster.runs set status = %s where run_id = %s", (status, run.run_id)
        )
        seen.append(state(database, run.run_id)[:2])
    assert seen == [*[("RUNNING", "RUNNING")] * 3, ("COMPLETED", "COMPLETED")]
    events = database.fetch_all("select type from constellation.events order by id")
    assert [event["type"] for event in events] == [
        *("job.submitted", "run.queued", "run.started", "job.started"),
        *("run.completed", "job.completed"),
    ]


def test_a_run_that_is_over_or_being_cancelled_does_not_begin(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    for status, expected in (("CANCELING", "CANCELLING"), ("CANCELED", "CANCELLED")):
        database.execute(
            "update dagster.runs set status = %s where run_id = %s", (status, run.run_id)
        )
        with database.transaction() as connection:
            plans.begin(connection, UUID(run.run_id))
        assert state(database, run.run_id)[0] == expected


def test_a_status_of_a_newer_dagster_is_kept_but_changes_nothing(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    database.execute("update dagster.runs set status = 'SUSPENDED'")
    assert state(database, run.run_id)[0] == "QUEUED"
    row = database.fetch_one("select dagster_status from constellation.runs")
    assert row == {"dagster_status": "SUSPENDED"}


def test_a_failed_write_of_dagster_changes_nothing_of_ours(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    with database.transaction() as connection:
        connection.execute("update dagster.runs set status = 'FAILURE'")
        connection.rollback()
    assert state(database, run.run_id)[0] == "QUEUED"


def test_a_waiting_run_is_cancelled_at_once(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    assert instance.run_coordinator.cancel_run(run.run_id)
    assert state(database, run.run_id)[:2] == ("CANCELLED", "CANCELLED")
    assert not instance.run_coordinator.cancel_run(run.run_id)
    with database.transaction() as connection:
        assert queue.claim(connection, worker(database)) is None


def test_a_held_run_is_asked_to_stop(instance: dg.DagsterInstance, database: Database) -> None:
    run = submit(instance, make(instance))
    worker_id = worker(database)
    lease = claimed(database, worker_id).lease
    assert instance.run_coordinator.cancel_run(run.run_id)
    assert state(database, run.run_id)[0] == "CANCELLING"
    with database.transaction() as connection:
        assert queue.beat(connection, worker_id) == [queue.Held(lease, cancel_requested=True)]


def test_a_run_can_be_resumed_once_it_has_ended(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    worker_id = worker(database)
    lease = claimed(database, worker_id).lease
    resume = ResumeRunContext(run, workspace=None, resume_attempt_number=1)
    instance.run_launcher.resume_run(resume)  # it still runs: nothing happens
    with database.transaction() as connection:
        assert queue.claim(connection, worker_id) is None
        queue.finish(connection, lease, -9)
    health = instance.run_launcher.check_run_worker_health(run)
    assert (health.status, health.msg) == (WorkerStatus.FAILED, "its process ended with -9")
    instance.run_launcher.resume_run(resume)
    assert claimed(database, worker_id).resume is True


def test_a_run_without_an_attempt_left_is_not_resumed(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    worker_id = worker(database)
    for _ in range(queue.MAX_ATTEMPTS):
        lease = claimed(database, worker_id).lease
        with database.transaction() as connection:
            run_ends.settle(connection, lease, -9)
    resume = ResumeRunContext(run, workspace=None, resume_attempt_number=1)
    instance.run_launcher.resume_run(resume)  # as Dagster's run monitoring would
    with database.transaction() as connection:
        assert queue.claim(connection, worker_id) is None


def test_a_silent_worker_is_unknown_not_dead(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    claimed(database, worker(database))
    database.execute("update constellation.run_queue set heartbeat_at = now() - interval '1 hour'")
    health = instance.run_launcher.check_run_worker_health(run)
    assert health.status == WorkerStatus.UNKNOWN


def test_a_run_of_a_known_job_joins_it(instance: dg.DagsterInstance, database: Database) -> None:
    first = submit(instance, make(instance))
    again = submit(instance, make(instance, job_id=first.run_id))
    jobs = database.fetch_all("select distinct job_id from constellation.runs")
    assert jobs == [{"job_id": UUID(first.run_id)}]
    assert state(database, again.run_id)[0] == "QUEUED"


@pytest.mark.parametrize("bad", ["many", "-1"])
def test_a_run_with_an_impossible_device_count_fails_with_the_reason(
    instance: dg.DagsterInstance, database: Database, bad: str
) -> None:
    run = submit(instance, make(instance, gpu_count=bad))
    assert state(database, run.run_id)[:2] == ("FAILED", "FAILED")
    assert database.fetch_all("select run_id from constellation.run_queue") == []
    messages = [record.message for record in instance.all_logs(run.run_id)]
    assert any("constellation/gpu_count" in message for message in messages)


@pytest.mark.parametrize("bad", ["many", "-1", "65", "1.5", ""])
def test_a_device_count_is_a_small_whole_number(bad: str) -> None:
    with pytest.raises(InvalidInput, match="constellation/gpu_count"):
        tags.gpu_count({tags.GPU_COUNT: bad})


@pytest.mark.parametrize("bad", ["many", "0", "-1", "1e4", "99999999"])
def test_stated_memory_is_a_whole_number_of_megabytes(bad: str) -> None:
    with pytest.raises(InvalidInput, match="constellation/gpu_mem_mb"):
        tags.check({tags.GPU_MEM_MB: bad})


def test_stated_memory_reaches_the_queue(instance: dg.DagsterInstance, database: Database) -> None:
    submit(instance, make(instance, gpu_mem_mb="8000"))
    submit(instance, make(instance))
    rows = database.fetch_all("select mem_mb from constellation.run_queue order by mem_mb")
    assert [row["mem_mb"] for row in rows] == [8000, None]


def test_a_hostile_job_tag_makes_a_job_of_its_own(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance, job_id="'; drop table constellation.jobs; --"))
    assert state(database, run.run_id) == ("QUEUED", "PENDING", "dagster")


def test_tags_have_defaults() -> None:
    assert (tags.gpu_count({}), tags.priority({})) == (1, 0)
    assert tags.gpu_count({tags.GPU_COUNT: "0"}) == 0


def test_the_queue_tells_an_operator_about_a_run(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    told = instance.run_launcher.get_run_worker_debug_info(run)
    assert told is not None
    assert "waiting for a device since" in told
    lease = claimed(database, worker(database, host="rack-7")).lease
    told = instance.run_launcher.get_run_worker_debug_info(run)
    assert told is not None
    assert "host: rack-7" in told
    assert "devices: SIM-0" in told
    with database.transaction() as connection:
        run_ends.settle(connection, lease, -9)
    told = instance.run_launcher.get_run_worker_debug_info(run)
    assert told is not None
    assert "attempt: 2 of 3" in told
    assert "process, resume: The run's process was ended by SIGKILL." in told


def test_a_suspended_run_of_a_newer_dagster_can_be_cancelled(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run = submit(instance, make(instance))
    database.execute("update dagster.runs set status = 'SUSPENDED'")
    suspended = instance.get_run_by_id(run.run_id)
    assert suspended is not None
    health = instance.run_launcher.check_run_worker_health(suspended)
    assert health.status == WorkerStatus.RUNNING
    assert instance.run_coordinator.cancel_run(run.run_id)
    assert state(database, run.run_id)[:2] == ("CANCELLED", "CANCELLED")


@pytest.mark.parametrize(
    "described",
    [ConstellationRunLauncher, ConstellationRunCoordinator, ConstellationComputeLogManager],
)
def test_every_field_of_the_configuration_is_described(described: Any) -> None:
    for name, field in described.config_type().items():
        assert field.description, name
