"""Workers and the devices they offer."""

from collections.abc import Iterable
from uuid import UUID

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store.database import Connection

REGISTER_DEVICE = """
insert into constellation.gpus
  (id, uuid, host, idx, name, total_mem_mb, compute_capability, simulated, slots, worker_id)
values
  (%(id)s, %(uuid)s, %(host)s, %(index)s, %(name)s, %(total_mem_mb)s, %(compute_capability)s,
   %(simulated)s, %(slots)s, %(worker_id)s)
on conflict (uuid) do update
   set host = excluded.host, idx = excluded.idx, name = excluded.name,
       total_mem_mb = excluded.total_mem_mb, compute_capability = excluded.compute_capability,
       simulated = excluded.simulated, slots = excluded.slots, worker_id = excluded.worker_id,
       engine_ready = false, seen_at = clock_timestamp()
"""


def register(connection: Connection, *, host: str, pid: int, devices: Iterable[Device]) -> UUID:
    """Enter a new worker with its devices, none of them ready yet; return the worker's id."""
    worker_id = new_id()
    connection.execute(
        "insert into constellation.workers (id, host, pid) values (%s, %s, %s)",
        (worker_id, host, pid),
    )
    connection.execute(
        "update constellation.gpus set worker_id = null, engine_ready = false where host = %s",
        (host,),
    )
    for device in devices:
        connection.execute(
            REGISTER_DEVICE,
            {
                "id": new_id(),
                "uuid": device.uuid,
                "host": host,
                "index": device.index,
                "name": device.name,
                "total_mem_mb": device.total_mem_mb,
                "compute_capability": device.compute_capability,
                "simulated": device.simulated,
                "slots": device.slots,
                "worker_id": worker_id,
            },
        )
    return worker_id


def beat(connection: Connection, worker_id: UUID) -> None:
    """Say that a worker and its devices are alive."""
    connection.execute(
        "update constellation.workers set heartbeat_at = now() where id = %s", (worker_id,)
    )
    connection.execute(
        "update constellation.gpus set seen_at = now() where worker_id = %s", (worker_id,)
    )


def set_ready(connection: Connection, worker_id: UUID, device_uuid: str, ready: bool) -> None:
    """Note whether a device's engine answers; only a ready device is leased."""
    connection.execute(
        "update constellation.gpus set engine_ready = %s where uuid = %s and worker_id = %s",
        (ready, device_uuid, worker_id),
    )


def stop(connection: Connection, worker_id: UUID) -> None:
    """Withdraw a worker and its devices."""
    connection.execute(
        "update constellation.workers set stopped_at = now() where id = %s", (worker_id,)
    )
    connection.execute(
        "update constellation.gpus set worker_id = null, engine_ready = false where worker_id = %s",
        (worker_id,),
    )
