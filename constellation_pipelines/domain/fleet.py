"""The fleet at one moment: what waits, what is held, what there is. Outlooks are made from it."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

MEMORY_MARGIN = 1.1  # what a model was seen to take varies from run to run by some per cent


@dataclass(frozen=True, slots=True)
class Staging:
    """First pixels of a remote scene on their way. `note` says why the last attempt failed."""

    host: str
    done_bytes: int
    wanted_bytes: int
    note: str | None = None
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run in the queue. `mem_mb` is what it states; `tiles_left` is what it has still to do."""

    run_id: UUID
    account: str
    priority: int
    enqueued_at: datetime
    gpu_count: int
    mem_mb: int | None
    model_digest: str | None
    chip_px: int | None
    tiles_left: int
    not_before: datetime | None
    serial_job_id: UUID | None
    reserved_worker_id: UUID | None  # whose devices are kept free for it
    staging: Staging | None = None  # what it waits for before anything else


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run that is at work. `devices` has the memory leased on each, by id."""

    run_id: UUID
    account: str
    gpu_count: int
    model_digest: str | None
    chip_px: int | None
    tiles_left: int
    serial_job_id: UUID | None
    devices: dict[UUID, int]


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """A device that a live worker offers."""

    id: UUID
    worker_id: UUID
    name: str
    total_mem_mb: int
    slots: int
    healthy: bool
    ready: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model was seen to take on a kind of device; None where that is not known."""

    mem_mb: int | None
    tile_s: float | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All of it. `waiting` is in order of priority and age; a limit of None is no limit.

    `measured` is known by model digest, device name and chip size.
    """

    at: datetime
    workers: int
    waiting: tuple[WaitingRun, ...] = ()
    held: tuple[HeldRun, ...] = ()
    devices: tuple[FleetDevice, ...] = ()
    measured: dict[tuple[str, str, int], Measured] = field(default_factory=dict)
    limit: int | None = None
    account_limit: int | None = None
    account_limits: dict[str, int] = field(default_factory=dict)
    spent_until: dict[str, datetime] = field(default_factory=dict)  # accounts without GPU-hours

    def limit_of(self, account: str) -> int | None:
        """How many runs of an account may be held at once."""
        return self.account_limits.get(account, self.account_limit)

    def seen(self, run: WaitingRun | HeldRun, device: FleetDevice) -> Measured:
        """What the run's model was seen to take on this kind of device."""
        if run.model_digest is None or run.chip_px is None:
            return Measured(None, None)
        key = (run.model_digest, device.name, run.chip_px)
        return self.measured.get(key, Measured(None, None))

    def need_mb(self, run: WaitingRun, device: FleetDevice) -> int:
        """Memory the run would lease there, as the claim reckons it."""
        measured = self.seen(run, device).mem_mb
        if measured is not None:
            with_margin = -int(-measured * MEMORY_MARGIN // 1)
            return min(with_margin, device.total_mem_mb)
        return device.total_mem_mb if run.mem_mb is None else run.mem_mb
