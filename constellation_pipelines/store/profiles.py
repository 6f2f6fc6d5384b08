"""Profiles: what a model was seen to take on a kind of device.

The next claim reserves the memory that was measured, the next prediction begins with a batch that
fitted, and outlooks are made from the time that tiles took.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from constellation_pipelines.store.database import Connection

# Memory only grows and a safe batch only shrinks: the worst case seen is what must fit.
NOTE = """
insert into constellation.profiles as p
       (model_digest, device_name, chip_px, mem_mb, safe_batch, tiles, device_s)
values (%(model_digest)s, %(device_name)s, %(chip_px)s, %(mem_mb)s, %(safe_batch)s, %(tiles)s,
        %(device_s)s)
on conflict (model_digest, device_name, chip_px) do update
   set mem_mb = greatest(p.mem_mb, excluded.mem_mb),
       safe_batch = least(p.safe_batch, excluded.safe_batch),
       tiles = p.tiles + excluded.tiles, device_s = p.device_s + excluded.device_s,
       updated_at = clock_timestamp()
"""

FIND = """
select mem_mb, safe_batch, tiles, device_s from constellation.profiles
 where model_digest = %(model_digest)s and device_name = %(device_name)s and chip_px = %(chip_px)s
"""

OF_DEVICES = """
select g.uuid, g.id, g.name, g.simulated, p.mem_mb, p.safe_batch, p.tiles, p.device_s
  from constellation.gpus g
  left join constellation.profiles p
    on p.model_digest = %(model_digest)s and p.device_name = g.name and p.chip_px = %(chip_px)s
 where g.uuid = any(%(uuids)s)
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Which model, on which kind of device, with which size of chip."""

    model_digest: str
    device_name: str
    chip_px: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What was seen. `mem_mb` and `safe_batch` are None where nothing was measured or refused."""

    mem_mb: int | None = None
    safe_batch: int | None = None
    tiles: int = 0
    device_s: float = 0.0

    @property
    def tile_s(self) -> float | None:
        """Mean seconds of a tile, None before the first one."""
        return self.device_s / self.tiles if self.tiles else None


def note(connection: Connection, place: Place, seen: Profile) -> None:
    """Add what a run saw to what is known."""
    connection.execute(
        NOTE,
        {
            "model_digest": place.model_digest,
            "device_name": place.device_name,
            "chip_px": place.chip_px,
            "mem_mb": seen.mem_mb,
            "safe_batch": seen.safe_batch,
            "tiles": seen.tiles,
            "device_s": seen.device_s,
        },
    )


def find(connection: Connection, place: Place) -> Profile:
    """What is known; an empty profile where that is nothing."""
    args = {
        "model_digest": place.model_digest,
        "device_name": place.device_name,
        "chip_px": place.chip_px,
    }
    row = connection.execute(FIND, args).fetchone()
    return Profile() if row is None else Profile(**row)


@dataclass(frozen=True, slots=True)
class Known:
    """A registered device, and what a model was seen to take on its kind."""

    gpu_id: UUID
    uuid: str
    name: str
    simulated: bool
    profile: Profile


def of_devices(
    connection: Connection, uuids: Sequence[str], model_digest: str, chip_px: int
) -> list[Known]:
    """What is known of a model on each of these devices, in their order."""
    args = {"uuids": list(uuids), "model_digest": model_digest, "chip_px": chip_px}
    rows = {row["uuid"]: row for row in connection.execute(OF_DEVICES, args)}
    return [
        Known(
            row["id"],
            row["uuid"],
            row["name"],
            row["simulated"],
            Profile(row["mem_mb"], row["safe_batch"], row["tiles"] or 0, row["device_s"] or 0.0),
        )
        for row in (rows[uuid] for uuid in uuids)
    ]
