"""`constellation worker`: one per host, owner of its devices."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.simulation import SimulationFile
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.gpu.door import DeviceDoor
from constellation_pipelines.gpu.inventory import offered, open_door
from constellation_pipelines.inference.package import discover
from constellation_pipelines.remote.hosts import allowed_by
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import devices as store_devices
from constellation_pipelines.store import workers
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.models import newest
from constellation_pipelines.worker import process, registration
from constellation_pipelines.worker.engines import Engines, Patience
from constellation_pipelines.worker.orders import Channel
from constellation_pipelines.worker.orphans import mark_children
from constellation_pipelines.worker.scratch import scratch_folder
from constellation_pipelines.worker.staging import AT_ONCE, Stager
from constellation_pipelines.worker.staging_session import Limits, Parts
from constellation_pipelines.worker.stamp import stamp
from constellation_pipelines.worker.supervisor import Supervisor
from constellation_pipelines.worker.telemetry import Telemetry
from constellation_pipelines.worker.zygotes import Handle, Zygotes

# Libraries the zygote loads start threads of their own, and a fork needs a parent without any.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises ServiceUnavailable without a database or devices, Conflict where the host has a worker,
    InvalidInput for a list of remote hosts that makes no sense.
    """
    if settings.database_url is None:
        raise ServiceUnavailable("CONSTELLATION_DATABASE_URL is not set; start `constellation up`")
    allowed_by(settings)  # a list of hosts that makes no sense is told before anything starts
    door = open_door(
        settings.host_name, settings.simulate_gpus, SimulationFile(settings.simulation_file)
    )
    devices = [replace(device, slots=settings.device_slots) for device in offered(door)]
    if not devices:
        raise ServiceUnavailable("this host has no GPU and CONSTELLATION_SIMULATE_GPUS is 0")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Short paths: a Unix socket's name holds 107 bytes, and a data directory may lie deep.
    with scratch_folder() as folder:
        database = Database(settings.database_url)
        try:
            # Older versions load when they are asked for: each takes a second of every start.
            preload = [Path(model.folder) for model in newest(discover(settings.models_dir))]
            engines = Engines(
                devices,
                folder,
                preload,
                door,
                settings.simulation_file,
                Patience(settings.engine_hang_s, settings.quarantine_s),
                settings.models_mb,
            )
            worker_id = registration.enter(database, settings.host_name, devices)
            keep_in_quarantine(database, engines, devices)
            mark_children(worker_id)
            engines.tick()  # they load while the zygote warms up
            try:
                with telling(settings, database, devices, engines, door) as telemetry:
                    serve(settings, database, worker_id, engines, telemetry, stop)
            finally:
                engines.stop()
                with database.transaction() as connection:
                    workers.stop(connection, worker_id)
        finally:
            database.close()
            door.close()


@contextmanager
def telling(
    settings: Settings,
    database: Database,
    devices: list[Device],
    engines: Engines,
    door: DeviceDoor,
) -> Iterator[Telemetry | None]:
    """Tell NATS of log lines and samples meanwhile, where there is a NATS."""
    if settings.nats_url is None:
        yield None
        return
    telemetry = Telemetry(
        Bus(settings.nats_url, name="constellation worker"),
        database,
        settings.run_logs_dir,
        devices,
        lambda uuid: door.sample(uuid, engines.pid_of(uuid)),
        settings.host_name,
    )
    telemetry.start()
    try:
        yield telemetry
    finally:
        telemetry.stop()


def keep_in_quarantine(database: Database, engines: Engines, devices: list[Device]) -> None:
    """A device that was set aside stays so until it passes a probe, whoever offers it."""
    with database.transaction() as connection:
        aside = store_devices.quarantined(connection)
    for device in devices:
        if device.uuid in aside:
            engines.set_aside(device.uuid)


def serve(
    settings: Settings,
    database: Database,
    worker_id: UUID,
    engines: Engines,
    telemetry: Telemetry | None,
    stop: threading.Event,
) -> None:
    """Run the supervisor on warm zygotes."""

    def now() -> str:
        return stamp(settings.definitions, settings.models_dir)

    zygotes = Zygotes(lambda stamp: start_zygote(settings.definitions, stamp), now)
    supervisor = Supervisor(database, worker_id, engines, zygotes, telemetry)
    with stager_of(settings, database, worker_id):  # its end may take seconds, the runs' must not
        try:
            supervisor.serve(stop)
        finally:
            zygotes.stop()  # their children end with them
            supervisor.hand_back()


@contextmanager
def stager_of(settings: Settings, database: Database, worker_id: UUID) -> Iterator[None]:
    """Fetch pixels of remote scenes meanwhile. Without allowed hosts it says so to their runs."""
    connections = settings.remote_connections
    limits = Limits(connections, settings.remote_attempts, settings.staging_mb * 2**20)
    with Ranges(allowed_by(settings), connections=AT_ONCE * connections) as ranges:
        with Stager(Parts(database, worker_id, ranges, settings.staging_dir, limits)):
            yield


def start_zygote(definitions: str, stamp: str) -> Handle:
    """Start a zygote process; it says when it is warm."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "constellation_pipelines.worker.zygote"]
    command += ["--channel", str(theirs.fileno()), "--definitions", definitions]
    environment = {**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""}
    child = process.spawn(command, env=environment, pass_fds=[theirs.fileno()])
    theirs.close()
    return Handle(Channel(ours), lambda: process.stop(child), stamp)
