"""One run, one device, one holder: whatever races, dies or comes late."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.errors import LeaseLost
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store import queue, workers
from constellation_pipelines.store.database import Database


def device(index: int) -> Device:
    return Device(f"SIM-{index}", index, "Simulated GPU", 1000, None, simulated=True)


def worker(database: Database, devices: int = 1, host: str = "host") -> UUID:
    offered = [device(index) for index in range(devices)]
    with database.transaction() as connection:
        worker_id = workers.register(connection, host=host, pid=1, devices=offered)
        for one in offered:
            workers.set_ready(connection, worker_id, one.uuid, True)
    return worker_id


def run(database: Database, account: str = "ann", priority: int = 0, gpu_count: int = 1) -> UUID:
    job_id, run_id = new_id(), new_id()
    with database.transaction() as connection:
        connection.execute(
            "insert into constellation.jobs "
            "(id, name, params, state, origin, submitted_by, priority) "
            "values (%s, 'job', '{}', 'PENDING', 'api', %s, %s)",
            (job_id, account, priority),
        )
        connection.execute(
            "insert into constellation.runs (id, job_id, state) values (%s, %s, 'QUEUED')",
            (run_id, job_id),
        )
        queue.enqueue(
            connection,
            run_id=run_id,
            instance_ref="{}",
            resume=False,
            priority=priority,
            gpu_count=gpu_count,
        )
    return run_id


def claim(database: Database, worker_id: UUID) -> queue.Claim | None:
    with database.transaction() as connection:
        return queue.claim(connection, worker_id)


def claimed(database: Database, worker_id: UUID) -> queue.Claim:
    found = claim(database, worker_id)
    assert found is not None
    return found


def finish(database: Database, lease: queue.Lease, code: int = 0) -> bool:
    with database.transaction() as connection:
        return queue.finish(connection, lease, code)


def live_leases(database: Database) -> int:
    row = database.fetch_one(
        "select count(*) as n from constellation.leases where released_at is null"
    )
    return int(row["n"]) if row else 0


def silence(database: Database, worker_id: UUID) -> None:
    """Let a worker miss its heartbeats."""
    for table, key in (("workers", "id"), ("run_queue", "worker_id")):
        database.execute(
            f"update constellation.{table} set heartbeat_at = now() - interval '1 minute' "
            f"where {key} = %s",
            (worker_id,),
        )


def test_a_run_waits_while_every_device_is_held(database: Database) -> None:
    worker_id = worker(database)
    first, second = run(database), run(database)
    held = claimed(database, worker_id)
    assert (held.lease.run_id, held.devices) == (first, ("SIM-0",))
    assert claim(database, worker_id) is None
    assert finish(database, held.lease)
    assert claimed(database, worker_id).lease.run_id == second


def test_a_device_whose_engine_is_not_ready_is_not_leased(database: Database) -> None:
    worker_id = worker(database)
    with database.transaction() as connection:
        workers.set_ready(connection, worker_id, "SIM-0", False)
    run(database)
    assert claim(database, worker_id) is None


def test_priority_goes_before_age(database: Database) -> None:
    worker_id = worker(database)
    run(database)
    urgent = run(database, priority=5)
    assert claimed(database, worker_id).lease.run_id == urgent


def test_an_account_without_devices_goes_before_one_that_holds_some(database: Database) -> None:
    worker_id = worker(database, devices=2)
    run(database, account="ann")
    run(database, account="ann")
    of_bob = run(database, account="bob")
    claimed(database, worker_id)
    assert claimed(database, worker_id).lease.run_id == of_bob


def test_a_run_of_two_devices_gets_both_or_waits(database: Database) -> None:
    worker_id = worker(database, devices=2)
    both = run(database, gpu_count=2, priority=1)
    held = claimed(database, worker_id)
    assert (held.lease.run_id, held.devices) == (both, ("SIM-0", "SIM-1"))
    another = run(database, gpu_count=2)
    assert claim(database, worker_id) is None
    finish(database, held.lease)
    assert claimed(database, worker_id).lease.run_id == another


def test_a_run_without_devices_holds_none(database: Database) -> None:
    worker_id = worker(database)
    run(database, gpu_count=0)
    assert claimed(database, worker_id).devices == ()
    assert live_leases(database) == 0


def test_a_queued_run_is_queued_once(database: Database) -> None:
    worker_id = worker(database, devices=2)
    run_id = run(database)
    with database.transaction() as connection:
        queue.enqueue(
            connection, run_id=run_id, instance_ref="{}", resume=True, priority=9, gpu_count=1
        )
    assert claimed(database, worker_id).resume is False
    assert claim(database, worker_id) is None


def test_twenty_claimants_get_one_device_once(database: Database) -> None:
    worker_id = worker(database)
    for _ in range(5):
        run(database)
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: claim(database, worker_id), range(20)))
    assert sum(claim is not None for claim in found) == 1
    assert live_leases(database) == 1


def test_a_late_writer_is_refused(database: Database) -> None:
    worker_id = worker(database)
    run(database)
    stale = claimed(database, worker_id).lease
    with database.transaction() as connection:
        assert queue.requeue(connection, stale, resume=True) == 2
    fresh = claimed(database, worker_id)
    assert (fresh.resume, fresh.attempt) == (True, 2)
    assert fresh.lease.fence > stale.fence
    with pytest.raises(LeaseLost), database.transaction() as connection:
        queue.guard(connection, stale)
    assert finish(database, stale) is False
    with database.transaction() as connection:
        queue.guard(connection, fresh.lease)
    assert live_leases(database) == 1


def test_a_worker_that_is_only_slow_keeps_its_runs(database: Database) -> None:
    worker_id = worker(database)
    run(database)
    lease = claimed(database, worker_id).lease
    database.execute(
        "update constellation.run_queue set heartbeat_at = now() - interval '1 minute'"
    )
    with database.transaction() as connection:
        (seen,) = workers.unended(connection)
        assert (seen.holds_runs, seen.is_silent) == (True, False)
        assert [held.lease for held in queue.beat(connection, worker_id)] == [lease]


def test_a_run_that_died_keeps_its_place_in_the_queue(database: Database) -> None:
    worker_id = worker(database)
    first = run(database)
    lease = claimed(database, worker_id).lease
    run(database)
    with database.transaction() as connection:
        queue.requeue(connection, lease, resume=True)
    assert claimed(database, worker_id).lease.run_id == first


def test_a_run_that_keeps_dying_is_given_up(database: Database) -> None:
    worker_id = worker(database)
    run(database)
    for attempt in range(2, queue.MAX_ATTEMPTS + 1):
        lease = claimed(database, worker_id).lease
        with database.transaction() as connection:
            assert queue.requeue(connection, lease, resume=True) == attempt
    lease = claimed(database, worker_id).lease
    with database.transaction() as connection:
        assert queue.requeue(connection, lease, resume=True) is None
    assert finish(database, lease, code=-9)
    assert live_leases(database) == 0


def test_a_cancelled_run_does_not_start_again(database: Database) -> None:
    worker_id = worker(database)
    run_id = run(database)
    lease = claimed(database, worker_id).lease
    with database.transaction() as connection:
        assert queue.request_interrupt(connection, run_id)
        assert queue.beat(connection, worker_id) == [queue.Held(lease, cancel_requested=True)]
        assert queue.requeue(connection, lease, resume=True) is None


def test_a_waiting_run_can_be_withdrawn(database: Database) -> None:
    worker_id = worker(database)
    run_id = run(database)
    with database.transaction() as connection:
        assert queue.withdraw(connection, run_id)
        assert not queue.withdraw(connection, run_id)
    assert claim(database, worker_id) is None


def test_a_new_worker_takes_over_the_devices_of_its_host(database: Database) -> None:
    old = worker(database)
    new = worker(database)
    run(database)
    assert claim(database, old) is None
    assert claimed(database, new).devices == ("SIM-0",)
