"""Forms of GPUs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.store.devices import DeviceStatus


class Holder(Reply):
    """A run that leases a GPU."""

    run_id: UUID
    job_id: UUID | None
    account: str | None = Field(description="Whose run it is.")
    acquired_at: datetime = Field(description="Since when it holds the GPU.")
    expires_at: datetime


class GpuFault(Reply):
    """Something that went wrong on a GPU, or with a run while it was there."""

    kind: FaultKind
    decision: Decision = Field(description="What was done about it.")
    message: str
    run_id: UUID | None
    at: datetime


class SampleReply(Reply):
    """What a GPU was doing. Of a simulated one: the process that computes in its place."""

    at: datetime
    utilisation_pct: float | None = Field(description="Share of the time that it computed.")
    mem_used_mb: int | None
    temperature_c: float | None
    power_w: float | None


class SampleList(Reply):
    """Samples of a GPU, oldest first."""

    uuid: str
    simulated: bool
    items: list[SampleReply]


class GpuReply(Reply):
    """A GPU, or a simulated one that computes on the processor."""

    id: UUID
    uuid: str
    host: str
    index: int
    name: str
    total_mem_mb: int
    compute_capability: str | None
    simulated: bool
    slots: int = Field(description="Runs that may share it.")
    runs: int = Field(description="Runs that do.")
    leased_mem_mb: int = Field(description="Memory that they leased.")
    online: bool = Field(description="A live worker offers it.")
    engine_ready: bool = Field(description="Its engine answers.")
    seen_at: datetime
    health: Literal["ok", "quarantined"] = Field(
        description="A quarantined device takes no runs until it passes a probe."
    )
    health_reason: str | None
    health_at: datetime | None = Field(description="Since when its health is as it is.")
    faults: list[GpuFault] = Field(description="The latest ones, newest first.")
    sample: SampleReply | None = Field(
        description="What it does right now; null where nobody has told for ten seconds."
    )
    held_by: Holder | None = Field(description="Of several runs, the one that has for longest.")
    holders: list[Holder] = Field(
        description="Every run that leases it and that you may see, the longest first; `runs` "
        "counts those of other accounts too."
    )

    @classmethod
    def of(cls, device: DeviceStatus, faults: Sequence[Fault], sample: Sample | None) -> Self:
        """The form of this device, of its latest faults and of what it does."""
        holders = [Holder.model_validate(holder) for holder in device.holders]
        own = cls.model_fields.keys() - {"held_by", "holders", "faults", "sample"}
        return cls(
            **{name: getattr(device, name) for name in own},
            faults=[GpuFault.model_validate(fault) for fault in faults],
            sample=None if sample is None else SampleReply.model_validate(sample),
            held_by=holders[0] if holders else None,
            holders=holders,
        )


class GpuList(Reply):
    """Every GPU that was ever seen, by host and index."""

    items: list[GpuReply]
