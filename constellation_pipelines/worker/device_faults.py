"""What follows from what happened to a device: its row, its faults, the runs that have to move."""

from collections.abc import Iterable
from uuid import UUID

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.gpu.xid import XidClass, classify
from constellation_pipelines.store import devices, faults, tiles, workers
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.engines import Change, ChangeKind

FREE_MOVES = 3  # a run that has met so many bad devices may be what breaks them


def note(database: Database, worker_id: UUID, change: Change, runs: Iterable[UUID]) -> list[UUID]:
    """Keep a change of a device that `runs` hold; return those that have to leave it.

    Writing it twice, after a lost connection, does no harm.
    """
    if change.kind in (ChangeKind.READY, ChangeKind.GONE):
        with database.transaction() as connection:
            ready = change.kind is ChangeKind.READY
            workers.set_ready(connection, worker_id, change.uuid, ready)
        return []
    note_device(database, worker_id, change)
    if change.kind is ChangeKind.QUARANTINED:
        for run_id in runs:
            note_run(database, change, run_id, FaultKind.DEVICE, Decision.MOVE)
        return list(runs)
    if change.xid is not None and classify(change.xid) is XidClass.RUN:
        for run_id in runs:  # NVML does not say whose process it was
            note_run(database, change, run_id, FaultKind.OWN, Decision.NONE)
    return []


def note_device(database: Database, worker_id: UUID, change: Change) -> None:
    """The device's side: its health, and the fault."""
    kind, decision = {
        ChangeKind.HUNG: (FaultKind.ENGINE, Decision.RETRY),
        ChangeKind.XID: (FaultKind.DEVICE, Decision.NONE),
        ChangeKind.QUARANTINED: (FaultKind.DEVICE, Decision.QUARANTINE_DEVICE),
        ChangeKind.PROBE_FAILED: (FaultKind.DEVICE, Decision.QUARANTINE_DEVICE),
        ChangeKind.READMITTED: (FaultKind.DEVICE, Decision.READMIT_DEVICE),
    }[change.kind]
    if change.xid is not None and classify(change.xid) is XidClass.RUN:
        kind = FaultKind.OWN
    with database.transaction() as connection:
        if change.kind is ChangeKind.QUARANTINED:
            devices.quarantine(connection, change.uuid, change.message)
        elif change.kind is ChangeKind.READMITTED:
            devices.readmit(connection, change.uuid)
        fault = Fault(
            kind,
            decision,
            change.message,
            gpu_id=devices.id_of(connection, change.uuid),
            worker_id=worker_id,
            details={} if change.xid is None else {"xid": change.xid},
        )
        faults.record(connection, fault)


def note_run(
    database: Database, change: Change, run_id: UUID, kind: FaultKind, decision: Decision
) -> None:
    """A run's side of a device's fault, told to its job as well."""
    with database.transaction() as connection:
        tiles.lock_job(connection, run_id)
        fault = Fault(
            kind,
            decision,
            f"device {change.uuid}: {change.message}",
            run_id=run_id,
            gpu_id=devices.id_of(connection, change.uuid),
            details={} if change.xid is None else {"xid": change.xid},
        )
        faults.record(connection, fault)


def moves_free(database: Database, run_id: UUID) -> bool:
    """Whether a run that leaves a bad device keeps its count of attempts."""
    with database.transaction() as connection:
        known = faults.of_run(connection, run_id)
    return sum(fault.decision is Decision.MOVE for fault in known) <= FREE_MOVES
