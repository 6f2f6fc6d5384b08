"""Workers and the devices they offer."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.devices import WORKER_ALIVE_S

REGISTER = """
insert into constellation.workers (id, host, pid, boot_id, pid_started_ticks)
values (%(id)s, %(host)s, %(pid)s, %(boot_id)s, %(started_ticks)s)
"""

REGISTER_DEVICE = """
insert into constellation.gpus
  (id, uuid, host, idx, name, total_mem_mb, compute_capability, simulated, parent_uuid, slots,
   worker_id)
values
  (%(id)s, %(uuid)s, %(host)s, %(index)s, %(name)s, %(total_mem_mb)s, %(compute_capability)s,
   %(simulated)s, %(parent_uuid)s, %(slots)s, %(worker_id)s)
on conflict (uuid) do update
   set host = excluded.host, idx = excluded.idx, name = excluded.name,
       total_mem_mb = excluded.total_mem_mb, compute_capability = excluded.compute_capability,
       simulated = excluded.simulated, parent_uuid = excluded.parent_uuid,
       slots = excluded.slots, worker_id = excluded.worker_id, engine_ready = false,
       seen_at = clock_timestamp()
"""

# A claim is a sign of life too.
RECORDS = """
select w.id, w.host, w.pid, w.boot_id, w.pid_started_ticks as started_ticks,
       w.stopped_at is not null as stopped, held.runs > 0 as holds_runs,
       extract(epoch from clock_timestamp() - greatest(w.heartbeat_at, held.last_at))::float8
         as silent_s
  from constellation.workers w
 cross join lateral (
   select count(*) as runs, max(q.heartbeat_at) as last_at from constellation.run_queue q
    where q.worker_id = w.id and q.state = 'leased') held
"""

UNENDED = RECORDS + " where w.stopped_at is null or held.runs > 0 order by w.started_at, w.id"
OF_HOST = RECORDS + " where w.stopped_at is null and w.host = %(host)s order by w.started_at, w.id"

LOCK_HOST = "select pg_advisory_xact_lock(hashtextextended('worker of ' || %(host)s, 0))"


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker that has not ended in good order, or holds runs.

    `boot_id` and `started_ticks` say with `pid` which process it was; None in an old row.
    `silent_s` is how long nothing was heard of it.
    """

    id: UUID
    host: str
    pid: int
    boot_id: str | None
    started_ticks: int | None
    stopped: bool
    holds_runs: bool
    silent_s: float

    @property
    def is_silent(self) -> bool:
        """True once it has missed its heartbeats."""
        return self.silent_s > WORKER_ALIVE_S


def register(
    connection: Connection,
    *,
    host: str,
    pid: int,
    devices: Iterable[Device],
    boot_id: str | None = None,
    started_ticks: int | None = None,
) -> UUID:
    """Enter a new worker with its devices, none of them ready yet; return the worker's id."""
    worker_id = new_id()
    connection.execute(
        REGISTER,
        {
            "id": worker_id,
            "host": host,
            "pid": pid,
            "boot_id": boot_id,
            "started_ticks": started_ticks,
        },
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
                "parent_uuid": device.parent_uuid,
                "slots": device.slots,
                "worker_id": worker_id,
            },
        )
    return worker_id


def lock_host(connection: Connection, host: str) -> None:
    """Let one worker at a time enter a host, until the transaction ends."""
    connection.execute(LOCK_HOST, {"host": host})


def of_host(connection: Connection, host: str) -> list[WorkerRecord]:
    """The workers of a host that have not ended in good order."""
    return [WorkerRecord(**row) for row in connection.execute(OF_HOST, {"host": host})]


def unended(connection: Connection) -> list[WorkerRecord]:
    """The workers of all hosts that have not ended in good order, or still hold runs."""
    return [WorkerRecord(**row) for row in connection.execute(UNENDED)]


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
