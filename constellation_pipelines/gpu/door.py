"""The one door to what the driver knows of devices; a real one and a simulated one stand in it."""

from dataclasses import dataclass
from typing import Protocol

from constellation_pipelines.domain.device import Device


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something that befell a device. `xid` is NVIDIA's number, or xid.LOST."""

    uuid: str
    xid: int


class DeviceDoor(Protocol):
    """What a worker asks of NVML. No method waits."""

    def devices(self) -> list[Device]:
        """Every device of this host, before any mask; MIG instances instead of their parents."""

    def events(self) -> list[DeviceEvent]:
        """What has happened since the last call, oldest first."""

    def close(self) -> None:
        """Let go of the driver. The door cannot be used afterwards."""
