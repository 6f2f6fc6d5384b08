"""What follows from the end of a run's process, and what is kept of it."""

import signal
from uuid import UUID

import pytest

from constellation_pipelines.domain.fault import Fault
from constellation_pipelines.store import faults, queue, run_ends
from constellation_pipelines.store.database import Database
from tests.store.test_queue import claim, claimed, live_leases, run, worker


def settle(database: Database, lease: queue.Lease, code: int) -> int | None:
    with database.transaction() as connection:
        return run_ends.settle(connection, lease, code)


def after_its_pause(database: Database, worker_id: UUID) -> queue.Lease:
    """The lease of a run that has waited for long enough."""
    database.execute("update constellation.run_queue set not_before = now()")
    return claimed(database, worker_id).lease


def faults_of(database: Database, run_id: UUID) -> list[Fault]:
    with database.transaction() as connection:
        return faults.of_run(connection, run_id)


def test_a_killed_run_goes_on_and_the_fault_is_kept(database: Database) -> None:
    run_id, worker_id = run(database), worker(database)
    lease = claimed(database, worker_id).lease
    assert settle(database, lease, -signal.SIGKILL) == 2
    (fault,) = faults_of(database, run_id)
    assert (fault.kind, fault.decision, fault.attempt) == ("process", "resume", 1)
    assert (fault.worker_id, fault.details) == (worker_id, {"exit_code": -9})
    assert fault.gpu_id is not None
    assert "SIGKILL" in fault.message
    assert live_leases(database) == 0


def test_after_the_last_attempt_the_decision_is_to_fail(database: Database) -> None:
    run_id, worker_id = run(database), worker(database)
    for _ in range(queue.MAX_ATTEMPTS):
        settle(database, claimed(database, worker_id).lease, 1)
    assert [fault.decision for fault in faults_of(database, run_id)] == ["resume", "resume", "fail"]
    assert claim(database, worker_id) is None


def test_a_run_that_said_how_it_ended_has_no_fault(database: Database) -> None:
    run_id, worker_id = run(database), worker(database)
    lease = claimed(database, worker_id).lease
    database.execute("update constellation.runs set state = 'FAILED'")
    assert settle(database, lease, 1) is None
    assert faults_of(database, run_id) == []
    assert live_leases(database) == 0


def test_a_cancelled_run_that_had_to_be_killed_has_no_fault(database: Database) -> None:
    run_id, worker_id = run(database), worker(database)
    lease = claimed(database, worker_id).lease
    with database.transaction() as connection:
        queue.request_interrupt(connection, run_id)
    assert settle(database, lease, -signal.SIGKILL) is None
    assert faults_of(database, run_id) == []
    with database.transaction() as connection:
        assert queue.untold(connection) == [queue.Untold(run_id, -9, cancelled=True)]


def test_a_run_that_was_given_back_pays_no_attempt(database: Database) -> None:
    run_id, worker_id = run(database), worker(database)
    assert settle(database, claimed(database, worker_id).lease, run_ends.GAVE_BACK) == 1
    (fault,) = faults_of(database, run_id)
    assert (fault.kind, fault.decision) == ("transient", "resume")


def test_a_run_that_gives_itself_back_for_ever_begins_to_pay(database: Database) -> None:
    run(database)
    worker_id = worker(database)
    attempts = [
        settle(database, after_its_pause(database, worker_id), run_ends.GAVE_BACK)
        for _ in range(run_ends.MOST_TIMES_GIVEN_BACK + queue.MAX_ATTEMPTS)
    ]
    assert attempts == [1] * run_ends.MOST_TIMES_GIVEN_BACK + [2, 3, None]


def test_a_run_is_told_the_fault_that_it_goes_on_after(database: Database) -> None:
    run(database)
    worker_id = worker(database)
    settle(database, claimed(database, worker_id).lease, -9)
    second = claimed(database, worker_id).lease
    with database.transaction() as connection:
        assert run_ends.why_resumed(connection, second) == "The run's process was ended by SIGKILL."
        queue.requeue(connection, second, resume=True, spend_attempt=False)
    third = claimed(database, worker_id).lease
    with database.transaction() as connection:
        assert run_ends.why_resumed(connection, third) is None


def test_the_end_of_a_run_whose_lease_passed_on_changes_nothing(database: Database) -> None:
    run_id, worker_id = run(database), worker(database)
    stale = claimed(database, worker_id).lease
    settle(database, stale, -9)
    held = claimed(database, worker_id).lease
    assert settle(database, stale, -9) is None
    assert len(faults_of(database, run_id)) == 1
    with database.transaction() as connection:
        queue.guard(connection, held)


def test_a_run_that_gives_itself_back_again_waits_ever_longer(database: Database) -> None:
    run_id, worker_id = run(database), worker(database)
    pauses = []
    for _ in range(3):
        settle(database, after_its_pause(database, worker_id), run_ends.GAVE_BACK)
        row = database.fetch_one(
            "select extract(epoch from not_before - now())::float8 as pause_s "
            "from constellation.run_queue where run_id = %s",
            (run_id,),
        )
        assert row is not None
        pauses.append(row["pause_s"])
    assert pauses[0] is None, "the service may be back already"
    assert all(pause > 0 for pause in pauses[1:])
    assert run_ends.pause_s(9) <= 1.5 * run_ends.LONGEST_PAUSE_S


def test_a_run_that_waits_after_it_gave_itself_back_is_not_claimed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_ends, "FIRST_PAUSE_S", 60.0)
    run(database)
    worker_id = worker(database)
    settle(database, claimed(database, worker_id).lease, run_ends.GAVE_BACK)
    settle(database, claimed(database, worker_id).lease, run_ends.GAVE_BACK)
    assert claim(database, worker_id) is None
    after_its_pause(database, worker_id)
