"""Runs of a worker that is gone pass on once, and pay no attempt for it."""

from concurrent.futures import ThreadPoolExecutor

from constellation_pipelines.store import faults, queue, reaper
from constellation_pipelines.store.database import Database
from tests.store.test_queue import claim, claimed, live_leases, run, worker


def test_every_run_passes_on_with_its_fault(database: Database) -> None:
    worker_id = worker(database, devices=2)
    runs = [run(database), run(database)]
    attempts = [claimed(database, worker_id).attempt for _ in runs]
    assert reaper.take_over(database, reaper.Proof(worker_id, "host", "it has ended")) == 2
    assert live_leases(database) == 0
    with database.transaction() as connection:
        kept = [faults.of_run(connection, run_id) for run_id in runs]
    assert [[(f.kind, f.decision) for f in of_run] for of_run in kept] == [
        [("worker", "resume")],
        [("worker", "resume")],
    ]
    again = [claimed(database, worker_id) for _ in runs]
    assert [one.attempt for one in again] == attempts


def test_it_may_be_done_by_several_at_once(database: Database) -> None:
    worker_id = worker(database)
    run_id = run(database)
    claimed(database, worker_id)
    proof = reaper.Proof(worker_id, "host", "it has ended")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: reaper.take_over(database, proof), range(8)))
    with database.transaction() as connection:
        assert len(faults.of_run(connection, run_id)) == 1
    assert claimed(database, worker_id).lease.run_id == run_id


def test_a_cancelled_run_ends_with_its_worker(database: Database) -> None:
    worker_id = worker(database)
    run_id = run(database)
    claimed(database, worker_id)
    with database.transaction() as connection:
        queue.request_interrupt(connection, run_id)
    reaper.take_over(database, reaper.Proof(worker_id, "host", "it has ended"))
    assert claim(database, worker_id) is None
    assert live_leases(database) == 0
    with database.transaction() as connection:
        assert faults.of_run(connection, run_id) == []


def test_a_run_that_loses_worker_after_worker_is_ended(database: Database) -> None:
    worker_id = worker(database)
    run_id = run(database)
    proof = reaper.Proof(worker_id, "host", "it has ended")
    for _ in range(reaper.MOST_WORKERS_LOST + 1):
        claimed(database, worker_id)
        reaper.take_over(database, proof)
    assert claim(database, worker_id) is None
    with database.transaction() as connection:
        assert faults.of_run(connection, run_id)[-1].decision == "fail"
