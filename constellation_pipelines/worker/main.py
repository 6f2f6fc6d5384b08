"""`constellation worker`: one per host, owner of its devices."""

import os
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.gpu.inventory import inventory
from constellation_pipelines.inference.package import discover
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import workers
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker import process
from constellation_pipelines.worker.engines import Engines
from constellation_pipelines.worker.orders import Channel
from constellation_pipelines.worker.supervisor import Supervisor, ZygoteGone

# Libraries the zygote loads start threads of their own, and a fork needs a parent without any.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ServiceUnavailable without a database or devices."""
    if settings.database_url is None:
        raise ServiceUnavailable("CONSTELLATION_DATABASE_URL is not set; start `constellation up`")
    found = inventory(settings.host_name, settings.simulate_gpus)
    devices = [replace(device, slots=settings.device_slots) for device in found]
    if not devices:
        raise ServiceUnavailable("this host has no GPU and CONSTELLATION_SIMULATE_GPUS is 0")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Short paths: a Unix socket's name holds 107 bytes, and a data directory may lie deep.
    with tempfile.TemporaryDirectory(prefix="constellation-") as folder:
        database = Database(settings.database_url)
        preload = [Path(model.folder) for model in discover(settings.models_dir)]
        engines = Engines(devices, Path(folder), preload)
        engines.tick()  # they load while the zygote warms up
        worker_id = register(database, settings.host_name, devices)
        try:
            serve(settings.definitions, database, worker_id, engines, stop)
        finally:
            engines.stop()
            with database.transaction() as connection:
                workers.stop(connection, worker_id)
            database.close()


def register(database: Database, host: str, devices: list[Device]) -> UUID:
    """Enter this worker and its devices."""
    with database.transaction() as connection:
        worker_id = workers.register(connection, host=host, pid=os.getpid(), devices=devices)
    for device in devices:
        label = " (simulated)" if device.simulated else ""
        print(f"device {device.index}: {device.name} {device.uuid}{label}", flush=True)
    return worker_id


def serve(
    definitions: str,
    database: Database,
    worker_id: UUID,
    engines: Engines,
    stop: threading.Event,
) -> None:
    """Run the supervisor on a warm zygote."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "constellation_pipelines.worker.zygote"]
    command += ["--channel", str(theirs.fileno()), "--definitions", definitions]
    environment = {**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""}
    child = process.spawn(command, env=environment, pass_fds=[theirs.fileno()])
    theirs.close()
    channel = Channel(ours)
    supervisor = Supervisor(database, worker_id, engines, channel)
    try:
        if not channel.receive():
            raise ServiceUnavailable("the zygote ended before it was warm; see the lines above")
        print(f"zygote {child.pid} is warm", flush=True)
        supervisor.serve(stop)
    except ZygoteGone:
        raise ServiceUnavailable("the zygote ended; its runs will be resumed") from None
    finally:
        process.stop(child)  # its children end with it
        supervisor.hand_back()
