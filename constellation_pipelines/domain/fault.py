"""A fault: what went wrong in a run or on a device, and what was decided."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class FaultKind(StrEnum):
    """The classes of faults; the class decides what follows."""

    TRANSIENT = "transient"  # a read or a service that may work a moment later
    OUT_OF_MEMORY = "out_of_memory"
    POISON_TILE = "poison_tile"  # fails, or takes its engine down, every time
    DEVICE = "device"  # the hardware: a bad Xid, off the bus, a hang
    ENGINE = "engine"  # the engine process ended or hung
    PROCESS = "process"  # the run's process ended
    WORKER = "worker"  # the worker ended or fell silent
    OWN = "own"  # the run's own doing: it would fail everywhere


class Decision(StrEnum):
    """What is done about a fault."""

    RETRY = "retry"  # the same tiles, a moment later
    RESUME = "resume"  # a new attempt goes on with the tiles not yet committed
    MOVE = "move"  # the run is queued for another device, its attempts unspent
    HALVE_BATCH = "halve_batch"
    QUARANTINE_TILE = "quarantine_tile"
    QUARANTINE_DEVICE = "quarantine_device"
    READMIT_DEVICE = "readmit_device"
    FAIL = "fail"
    NONE = "none"  # kept, and nothing done


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `attempt` is the run's; `details` has what its class knows, such as the Xid."""

    kind: FaultKind
    decision: Decision
    message: str
    run_id: UUID | None = None
    gpu_id: UUID | None = None
    worker_id: UUID | None = None
    attempt: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None
