"""Leases: a run's hold on its devices, and the number by which its writes are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from constellation_pipelines.domain.errors import LeaseLost
from constellation_pipelines.store.database import Connection

LEASE_TTL_S = 15

FREE = """
update constellation.leases set released_at = clock_timestamp()
 where fence = %(fence)s and released_at is null
"""

NOTE_ENERGY = """
update constellation.leases l set energy_j = coalesce(l.energy_j, 0) + %(energy_j)s
  from constellation.gpus g
 where l.fence = %(fence)s and g.id = l.gpu_id and g.uuid = %(uuid)s
"""

GUARD = """
select 1 from constellation.run_queue
 where run_id = %(run_id)s and fence = %(fence)s and state = 'leased' for share
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """A run's hold on its devices, as its writers name it."""

    run_id: UUID
    fence: int


def free(connection: Connection, lease: Lease) -> None:
    """Let the devices of a lease go. A lease that is over stays as it is."""
    connection.execute(FREE, {"fence": lease.fence})


def note_energy(connection: Connection, lease: Lease, joules: Mapping[str, float]) -> None:
    """Keep what a lease took of the energy of its devices, by their uuid."""
    for device_uuid, energy_j in joules.items():
        args = {"fence": lease.fence, "uuid": device_uuid, "energy_j": energy_j}
        connection.execute(NOTE_ENERGY, args)


def guard(connection: Connection, lease: Lease) -> None:
    """Hold the lease still for this transaction. Raises LeaseLost when it has passed on."""
    args = {"run_id": lease.run_id, "fence": lease.fence}
    if connection.execute(GUARD, args).fetchone() is None:
        raise LeaseLost(f"run {lease.run_id} is no longer held under fence {lease.fence}")
