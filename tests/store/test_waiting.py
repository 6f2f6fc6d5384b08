"""Outlooks from the database: what the claim does and what is said of it agree."""

from uuid import UUID

import pytest

from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.outlook import Outlook, Wait
from constellation_pipelines.store import queue, waiting, workers
from constellation_pipelines.store.claims import RESERVE_AFTER_S
from constellation_pipelines.store.database import Database
from tests.store.fleet import (
    beat,
    claim,
    claimed,
    finish,
    gpu,
    host,
    job,
    limit,
    model,
    pass_time,
    profile,
    run,
    run_of,
)


def outlook(database: Database, run_id: UUID) -> Outlook:
    with database.transaction() as connection:
        return waiting.of_runs(connection, [run_id])[run_id]


def test_a_run_that_runs_or_is_over_has_no_outlook(database: Database) -> None:
    worker_id = host(database, gpu("A"))
    run_id = run(database)
    claimed(database, worker_id)
    with database.transaction() as connection:
        assert waiting.of_runs(connection, [run_id, new_id()]) == {}
    finish(database, run_id)
    with database.transaction() as connection:
        assert waiting.of_runs(connection, [run_id]) == {}


def test_a_run_that_dagster_does_not_know_yet(database: Database) -> None:
    run_id = run(database)
    database.execute("delete from constellation.run_queue")
    database.execute("update constellation.runs set state = 'PENDING'")
    assert outlook(database, run_id).code is Wait.PENDING


def test_no_worker_is_one_that_is_silent_too(database: Database) -> None:
    run_id = run(database)
    assert outlook(database, run_id).code is Wait.NO_WORKER
    worker_id = host(database, gpu("A"))
    assert outlook(database, run_id).code is Wait.NEXT
    pass_time(database, queue.LEASE_TTL_S + 1)
    assert outlook(database, run_id).code is Wait.NO_WORKER
    beat(database, worker_id)
    assert outlook(database, run_id).code is Wait.NEXT


def test_engines_and_quarantine(database: Database) -> None:
    worker_id = host(database, gpu("A"), ready=False)
    run_id = run(database)
    assert outlook(database, run_id).code is Wait.ENGINES_STARTING
    with database.transaction() as connection:
        workers.set_ready(connection, worker_id, "A", True)
    database.execute("update constellation.gpus set health = 'quarantined'")
    assert outlook(database, run_id).code is Wait.QUARANTINED


def test_limits_serial_jobs_and_backing_off(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=9))
    serial = job(database, mode="serial")
    first, second = run_of(database, serial), run_of(database, serial)
    found = claim(database, worker_id)
    assert found is not None
    assert outlook(database, second).code is Wait.SERIAL_JOB
    limit(database, account=1)
    assert outlook(database, run(database)).code is Wait.ACCOUNT_LIMIT
    limit(database, fleet=1)
    assert outlook(database, run(database)).code is Wait.GLOBAL_LIMIT
    limit(database)
    with database.transaction() as connection:
        queue.requeue(connection, found.lease, resume=True, delay_s=30)
    assert outlook(database, first).code is Wait.BACKING_OFF


def test_place_and_start_come_from_what_runs_and_what_was_measured(database: Database) -> None:
    worker_id = host(database, gpu("A"))
    profile(database, "digest", 100, tile_s=2.0)
    model_id = model(database, "digest")
    runs = [run(database, model_id=model_id, tiles=tiles) for tiles in (10, 5, 1)]
    claimed(database, worker_id)
    database.execute(
        "update constellation.runs set tiles_completed = 3, tiles_failed = 1 where id = %s",
        (runs[0],),
    )
    now = database.fetch_one("select now() as at")
    found = outlook(database, runs[2])
    assert (found.code, found.place) == (Wait.DEVICES_BUSY, 2)
    assert found.estimated_start_at is not None
    assert now is not None
    # Six tiles of the first run and five of the second, two seconds each.
    assert (found.estimated_start_at - now["at"]).total_seconds() == pytest.approx(22, abs=10)


def test_devices_kept_for_a_larger_run(database: Database) -> None:
    worker_id = host(database, gpu("A"), gpu("B", 1))
    run(database)
    run(database)
    first, _ = claimed(database, worker_id), claimed(database, worker_id)
    wide = run(database, gpus=2)
    pass_time(database, RESERVE_AFTER_S + 1)
    beat(database, worker_id)
    small = run(database)
    finish(database, first)
    assert claim(database, worker_id) is None
    assert outlook(database, small).code is Wait.DEVICES_KEPT
    found = outlook(database, wide)
    assert (found.code, found.place) == (Wait.DEVICES_BUSY, 1)


def test_a_run_far_back_in_a_long_queue(database: Database) -> None:
    host(database, gpu("A"))
    run_id = run(database)
    database.execute(
        "insert into constellation.run_queue (run_id, instance_ref, priority) "
        "select gen_random_uuid(), '{}', 1 from generate_series(1, %s)",
        (waiting.LOOKED_AT,),
    )
    assert outlook(database, run_id) == waiting.FAR_BACK
