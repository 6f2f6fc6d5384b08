from uuid import uuid4

import psycopg
import pytest

from constellation_pipelines.store.database import Database

LEASE = """
insert into constellation.leases (fence, gpu_id, worker_id, run_id, expires_at)
select nextval('constellation.fence'), gpus.id, workers.id, %s, now() + interval '1 minute'
  from constellation.gpus, constellation.workers
"""
EMIT = "select constellation.emit('job.submitted', %s, null, '{}')"


@pytest.fixture
def one_device(database: Database) -> Database:
    database.execute(
        "insert into constellation.workers (id, host, pid) values (%s, 'here', 1)", (uuid4(),)
    )
    database.execute(
        "insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated)"
        " values (%s, 'SIM-1', 'here', 0, 'CPU', 1024, true)",
        (uuid4(),),
    )
    return database


def test_a_slot_of_a_device_has_one_live_lease(one_device: Database) -> None:
    one_device.execute(LEASE, (uuid4(),))
    with pytest.raises(psycopg.errors.UniqueViolation, match="leases_one_live_per_slot"):
        one_device.execute(LEASE, (uuid4(),))
    one_device.execute("update constellation.leases set released_at = now()")
    assert one_device.execute(LEASE, (uuid4(),)) == 1


def test_fences_only_grow(one_device: Database) -> None:
    fences = []
    for _ in range(3):
        one_device.execute(LEASE, (uuid4(),))
        one_device.execute("update constellation.leases set released_at = now()")
        row = one_device.fetch_one("select max(fence) as fence from constellation.leases")
        assert row is not None
        fences.append(row["fence"])
    assert fences == sorted(set(fences))


def test_events_of_a_job_get_their_numbers_in_the_order_of_commits(database: Database) -> None:
    job = uuid4()
    with psycopg.connect(database.url) as first, psycopg.connect(database.url) as second:
        first.execute(EMIT, (job,))
        second.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(EMIT, (job,))
        second.rollback()
        first.commit()
        second.execute(EMIT, (job,))


def test_events_of_different_jobs_do_not_wait_for_each_other(database: Database) -> None:
    with psycopg.connect(database.url) as first, psycopg.connect(database.url) as second:
        second.execute("set lock_timeout = '200ms'")
        first.execute(EMIT, (uuid4(),))
        second.execute(EMIT, (uuid4(),))


def test_a_run_that_joins_a_job_waits_for_its_turn_before_it_holds_anything(
    database: Database,
) -> None:
    """Else it would hold the job's row, wait for the lock, and whoever has that for the row."""
    job = uuid4()
    database.execute(
        "insert into constellation.jobs (id, name, params, state, submitted_by)"
        " values (%s, 'x', '{}', 'RUNNING', 'ann')",
        (job,),
    )
    body = f'{{"tags": {{"constellation/job_id": "{job}"}}}}'
    with psycopg.connect(database.url) as first, psycopg.connect(database.url) as second:
        first.execute("select constellation.lock_job(%s)", (job,))
        second.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(
                "select constellation.adopt_dagster_run(%s, 'predict', %s::jsonb)", (uuid4(), body)
            )
        second.rollback()
        first.execute("select 1 from constellation.jobs where id = %s for update", (job,))


@pytest.mark.parametrize("key", ["a,b", "a\nb", "a\x1b[31mb", "a\rb"])
def test_a_scene_key_that_would_break_partitions_or_logs_is_refused(
    database: Database, key: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="scenes_key_fits_a_partition"):
        database.execute(
            "insert into constellation.scenes"
            " (id, key, uri, digest, grid, bands, gsd_m, footprint, area_km2, item) values"
            " (%s, %s, '/a.tif', 'd', '{}', '[]', 10,"
            "  'multipolygon(((0 0, 1 0, 1 1, 0 0)))', 1, '{}')",
            (uuid4(), key),
        )


@pytest.mark.parametrize("state", ["DONE", "running", ""])
def test_a_job_is_only_ever_in_a_known_state(database: Database, state: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="state"):
        database.execute(
            "insert into constellation.jobs (id, name, params, state, submitted_by)"
            " values (%s, 'x', '{}', %s, 'ann')",
            (uuid4(), state),
        )
