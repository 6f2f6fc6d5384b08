"""What a job needs to run, as far as Postgres knows."""

from dataclasses import dataclass

from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.devices import WORKER_ALIVE_S

CAPACITY = f"""
select (select count(*) from constellation.workers
         where stopped_at is null
           and heartbeat_at > clock_timestamp() - interval '{WORKER_ALIVE_S} s') as workers,
       count(g.id) as devices,
       count(g.id) filter (where g.engine_ready) as ready
  from constellation.gpus g
  join constellation.workers w
    on w.id = g.worker_id and w.stopped_at is null
   and w.heartbeat_at > clock_timestamp() - interval '{WORKER_ALIVE_S} s'
"""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Live workers, the devices they offer, and those whose engine answers."""

    workers: int
    devices: int
    ready: int


def capacity(connection: Connection) -> Capacity:
    """What there is to run jobs on now."""
    row = connection.execute(CAPACITY).fetchone()
    assert row is not None
    return Capacity(**row)
