"""Forms of GPUs."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.store.devices import DeviceStatus


class Holder(Reply):
    """The run that leases a GPU."""

    run_id: UUID
    job_id: UUID | None
    acquired_at: datetime
    expires_at: datetime


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
    held_by: Holder | None = Field(description="Of several runs, the one that has for longest.")

    @classmethod
    def of(cls, device: DeviceStatus) -> Self:
        """The form of this device."""
        held = device.run_id is not None
        holder = Holder.model_validate(device) if held else None
        fields = {name: getattr(device, name) for name in cls.model_fields if name != "held_by"}
        return cls(**fields, held_by=holder)


class GpuList(Reply):
    """Every GPU that was ever seen, by host and index."""

    items: list[GpuReply]
