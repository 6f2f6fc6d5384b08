"""Devices of all hosts, who holds them, and whether their worker lives."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from constellation_pipelines.domain.errors import NotFound
from constellation_pipelines.store.database import Connection

WORKER_ALIVE_S = 15  # a worker that was silent for longer is taken for dead

LIST = f"""
select g.id, g.uuid, g.host, g.idx as index, g.name, g.total_mem_mb, g.compute_capability,
       g.simulated, g.slots, coalesce(held.runs, 0) as runs,
       coalesce(held.leased_mem_mb, 0) as leased_mem_mb,
       (w.id is not null) as online,
       (w.id is not null and g.engine_ready) as engine_ready,
       g.seen_at, g.health, g.health_reason, g.health_at
  from constellation.gpus g
  left join constellation.workers w
    on w.id = g.worker_id and w.stopped_at is null
   and w.heartbeat_at > clock_timestamp() - interval '{WORKER_ALIVE_S} s'
  left join constellation.device_load held on held.gpu_id = g.id
 order by g.host, g.idx, g.uuid
"""

# What the asking account may see of them.
HOLDERS = """
select l.gpu_id, l.run_id, r.job_id, r.account, l.acquired_at, l.expires_at
  from constellation.leases l
  left join constellation.runs r on r.id = l.run_id
 where l.released_at is null
 order by l.acquired_at, l.fence
"""

# Not ready either: only a ready device is leased.
QUARANTINE = """
update constellation.gpus
   set health = 'quarantined', health_reason = %(reason)s, health_at = clock_timestamp(),
       engine_ready = false
 where uuid = %(uuid)s
"""

READMIT = """
update constellation.gpus
   set health = 'ok', health_reason = null, health_at = clock_timestamp()
 where uuid = %(uuid)s
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that leases a device. `job_id` and `account` are None for a run that is not known."""

    run_id: UUID
    job_id: UUID | None
    account: str | None
    acquired_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device and who holds it, those first that have for longest. Of runs that the asking account
    may not see only the number and the memory are told.

    `online` means that a live worker offers it; `health` is ok or quarantined, `health_reason` why,
    `health_at` since when.
    """

    id: UUID
    uuid: str
    host: str
    index: int
    name: str
    total_mem_mb: int
    compute_capability: str | None
    simulated: bool
    slots: int
    runs: int
    leased_mem_mb: int
    online: bool
    engine_ready: bool
    seen_at: datetime
    health: str
    health_reason: str | None
    health_at: datetime | None
    holders: tuple[Holder, ...]


def list_all(connection: Connection) -> list[DeviceStatus]:
    """Every device that was ever seen, by host and index."""
    holders: dict[UUID, list[Holder]] = {}
    for row in connection.execute(HOLDERS):
        holders.setdefault(row.pop("gpu_id"), []).append(Holder(**row))
    return [
        DeviceStatus(**row, holders=tuple(holders.get(row["id"], ())))
        for row in connection.execute(LIST)
    ]


def quarantine(connection: Connection, uuid: str, reason: str) -> None:
    """Set a device aside: nothing is placed on it until it is readmitted."""
    connection.execute(QUARANTINE, {"uuid": uuid, "reason": reason})


def readmit(connection: Connection, uuid: str) -> None:
    """Take a device back. Its engine still has to say that it is ready."""
    connection.execute(READMIT, {"uuid": uuid})


def quarantined(connection: Connection) -> set[str]:
    """Uuids of the devices that are set aside, on any host."""
    rows = connection.execute("select uuid from constellation.gpus where health = 'quarantined'")
    return {row["uuid"] for row in rows}


def id_of(connection: Connection, uuid: str) -> UUID | None:
    """The id under which a device was registered."""
    row = connection.execute("select id from constellation.gpus where uuid = %s", (uuid,))
    found = row.fetchone()
    return None if found is None else UUID(str(found["id"]))


def is_simulated(connection: Connection, uuid: str) -> bool:
    """Whether the device with this uuid is a simulated one. Raises NotFound."""
    row = connection.execute(
        "select simulated from constellation.gpus where uuid = %s", (uuid,)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no device {uuid[:100]!r}; `constellation gpus` shows them")
    return bool(row["simulated"])
