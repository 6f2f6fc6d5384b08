"""Faults: kept with the decision they led to, and told as events of their run."""

from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store.database import Connection

INSERT = """
insert into constellation.faults
       (id, run_id, gpu_id, worker_id, attempt, kind, decision, message, details)
values (%(id)s, %(run_id)s, %(gpu_id)s, %(worker_id)s, %(attempt)s, %(kind)s, %(decision)s,
        %(message)s, %(details)s)
"""

EMIT = """
select constellation.emit('run.fault', job_id, id, %(payload)s)
  from constellation.runs where id = %(run_id)s
"""

SELECT = """
select kind, decision, message, run_id, gpu_id, worker_id, attempt, details, at
  from constellation.faults
"""

OF_RUN = SELECT + " where run_id = %(id)s order by at, id"
OF_DEVICE = SELECT + " where gpu_id = %(id)s order by at desc, id desc limit %(limit)s"

# A few of each device, by its index.
LATEST = """
select f.* from constellation.gpus g
 cross join lateral (
   select kind, decision, message, run_id, gpu_id, worker_id, attempt, details, at
     from constellation.faults where gpu_id = g.id
    order by at desc, id desc limit %(limit)s) f
"""

LONGEST_MESSAGE = 2000


def record(connection: Connection, fault: Fault) -> None:
    """Keep a fault in the caller's transaction; one of a run is also an event of its job."""
    message = fault.message[:LONGEST_MESSAGE]
    connection.execute(
        INSERT,
        {
            "id": new_id(),
            "run_id": fault.run_id,
            "gpu_id": fault.gpu_id,
            "worker_id": fault.worker_id,
            "attempt": fault.attempt,
            "kind": fault.kind,
            "decision": fault.decision,
            "message": message,
            "details": Jsonb(fault.details),
        },
    )
    if fault.run_id is not None:
        payload = {"kind": fault.kind, "decision": fault.decision, "message": message}
        connection.execute(EMIT, {"run_id": fault.run_id, "payload": Jsonb(payload)})


def of_run(connection: Connection, run_id: UUID) -> list[Fault]:
    """The faults of a run, oldest first."""
    return [fault_of(row) for row in connection.execute(OF_RUN, {"id": run_id})]


def of_device(connection: Connection, gpu_id: UUID, limit: int) -> list[Fault]:
    """The latest faults of a device, newest first."""
    return [fault_of(row) for row in connection.execute(OF_DEVICE, {"id": gpu_id, "limit": limit})]


def latest(connection: Connection, limit: int) -> dict[UUID, list[Fault]]:
    """The latest faults of each device that has any, by its id, newest first."""
    found: dict[UUID, list[Fault]] = {}
    for row in connection.execute(LATEST, {"limit": limit}):
        found.setdefault(row["gpu_id"], []).append(fault_of(row))
    return found


def fault_of(row: DictRow) -> Fault:
    """The fault in a row of SELECT."""
    return Fault(**{**row, "kind": FaultKind(row["kind"]), "decision": Decision(row["decision"])})
