"""A worker enters its host: alone, and after those that died there have been buried."""

import os
import time
from uuid import UUID

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.errors import Conflict
from constellation_pipelines.store import reaper, workers
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.devices import WORKER_ALIVE_S
from constellation_pipelines.store.workers import WorkerRecord
from constellation_pipelines.worker.identity import identity_of
from constellation_pipelines.worker.orphans import end_orphans
from constellation_pipelines.worker.proof import is_local, proof_of_death

LOOK_AGAIN_S = 0.5


def enter(database: Database, host: str, devices: list[Device]) -> UUID:
    """Enter this process as the worker of its host, with its devices.

    Two workers on one host would fight over its devices. One that is proven dead is buried first:
    what it left running is ended, its runs are queued again. Raises Conflict where one lives.
    """
    patience_until = time.monotonic() + WORKER_ALIVE_S + 2
    while True:
        with database.transaction() as connection:
            workers.lock_host(connection, host)
            others = workers.of_host(connection, host)
            if not others:
                us = identity_of(os.getpid())
                assert us is not None
                worker_id = workers.register(
                    connection,
                    host=host,
                    pid=us.pid,
                    boot_id=us.boot_id,
                    started_ticks=us.started_ticks,
                    devices=devices,
                )
                break
        for other in others:
            make_way(database, other, patience_until)
    for device in devices:
        label = " (simulated)" if device.simulated else ""
        print(f"device {device.index}: {device.name} {device.uuid}{label}", flush=True)
    return worker_id


def make_way(database: Database, other: WorkerRecord, patience_until: float) -> None:
    """Bury another worker of our host, or wait for proof of its death. Raises Conflict."""
    reason = proof_of_death(other)
    if reason is not None:
        orphans = end_orphans(other.id)
        runs = reaper.take_over(database, reaper.Proof(other.id, other.host, reason))
        with database.transaction() as connection:
            workers.stop(connection, other.id)
        print(
            f"worker {other.pid} is gone, {reason}: {runs} runs queued again, {orphans} processes "
            "ended",
            flush=True,
        )
    elif is_local(other):
        raise Conflict(
            f"worker {other.pid} serves this host already: stop it before you start another one"
        )
    elif time.monotonic() > patience_until:
        raise Conflict(
            f"a worker on another machine serves the host name {other.host} already: give this "
            "machine a name of its own in CONSTELLATION_HOST_NAME"
        )
    else:
        time.sleep(LOOK_AGAIN_S)
