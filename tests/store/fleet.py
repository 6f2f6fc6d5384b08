"""Workers, devices, jobs and runs for tests of placement."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store import queue, workers
from constellation_pipelines.store.database import Database

GPU = "Simulated GPU"
CHIP_PX = 64


def gpu(
    name: str, index: int = 0, *, slots: int = 1, mem_mb: int = 1000, kind: str = GPU
) -> Device:
    return Device(name, index, kind, mem_mb, None, simulated=True, slots=slots)


def host(database: Database, *devices: Device, name: str = "host", ready: bool = True) -> UUID:
    """A worker of a host that offers these devices."""
    with database.transaction() as connection:
        worker_id = workers.register(connection, host=name, pid=1, devices=devices)
        for device in devices:
            workers.set_ready(connection, worker_id, device.uuid, ready)
    return worker_id


def model(database: Database, digest: str) -> UUID:
    """A registered model of chips of CHIP_PX pixels."""
    model_id = new_id()
    document = {"properties": {"constellation:chip_px": CHIP_PX}}
    database.execute(
        "insert into constellation.models (id, name, version, digest, folder, document) "
        "values (%s, %s, '1', %s, '/m', %s)",
        (model_id, str(model_id), digest, Jsonb(document)),
    )
    return model_id


def profile(
    database: Database, digest: str, mem_mb: int | None, *, kind: str = GPU, tile_s: float = 0.0
) -> None:
    """What a model was seen to take on a kind of device."""
    database.execute(
        "insert into constellation.profiles "
        "(model_digest, device_name, chip_px, mem_mb, tiles, device_s) "
        "values (%s, %s, %s, %s, 100, %s)",
        (digest, kind, CHIP_PX, mem_mb, 100 * tile_s),
    )


def job(
    database: Database, *, account: str = "ann", priority: int = 0, mode: str = "parallel"
) -> UUID:
    job_id = new_id()
    database.execute(
        "insert into constellation.jobs "
        "(id, name, params, priority, state, origin, submitted_by) "
        "values (%s, 'job', %s, %s, 'PENDING', 'api', %s)",
        (job_id, Jsonb({"mode": mode}), priority, account),
    )
    return job_id


def run_of(
    database: Database,
    job_id: UUID,
    *,
    gpus: int = 1,
    mem_mb: int | None = 1,
    model_id: UUID | None = None,
    tiles: int = 0,
) -> UUID:
    """A queued run of a job. It states little memory unless told otherwise."""
    run_id = new_id()
    with database.transaction() as connection:
        connection.execute(
            "insert into constellation.runs (id, job_id, model_id, state, tiles_planned) "
            "values (%s, %s, %s, 'QUEUED', %s)",
            (run_id, job_id, model_id, tiles),
        )
        queue.enqueue(
            connection,
            run_id=run_id,
            instance_ref="{}",
            resume=False,
            priority=0,
            gpu_count=gpus,
            mem_mb=mem_mb,
        )
    return run_id


def run(
    database: Database,
    *,
    account: str = "ann",
    priority: int = 0,
    mode: str = "parallel",
    **of: Any,
) -> UUID:
    """A queued run of a job of its own."""
    return run_of(database, job(database, account=account, priority=priority, mode=mode), **of)


def limit(database: Database, *, fleet: int | None = None, account: int | None = None) -> None:
    database.execute(
        "update constellation.limits set running_runs = %s, running_runs_per_account = %s",
        (fleet, account),
    )


def claim(database: Database, worker_id: UUID) -> queue.Claim | None:
    with database.transaction() as connection:
        return queue.claim(connection, worker_id)


def claimed(database: Database, worker_id: UUID) -> UUID:
    """The run that a worker claims now."""
    found = claim(database, worker_id)
    assert found is not None
    return found.lease.run_id


def finish(database: Database, run_id: UUID) -> None:
    """End a run that is held."""
    row = database.fetch_one(
        "select fence from constellation.run_queue where run_id = %s and state = 'leased'",
        (run_id,),
    )
    assert row is not None
    with database.transaction() as connection:
        assert queue.finish(connection, queue.Lease(run_id, row["fence"]), 0)


def pass_time(database: Database, seconds: float) -> None:
    """Make everything that is written down that much older."""
    earlier = timedelta(seconds=seconds)
    for table, columns in (
        ("run_queue", ("enqueued_at", "leased_at", "heartbeat_at", "not_before")),
        ("workers", ("started_at", "heartbeat_at")),
        ("leases", ("acquired_at", "expires_at")),
    ):
        shifts = ", ".join(f"{column} = {column} - %(earlier)s" for column in columns)
        database.execute(f"update constellation.{table} set {shifts}", {"earlier": earlier})


def beat(database: Database, worker_id: UUID) -> None:
    with database.transaction() as connection:
        workers.beat(connection, worker_id)
        queue.beat(connection, worker_id)
