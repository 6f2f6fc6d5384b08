"""The one door to what the driver knows of devices; a real one and a simulated one stand in it."""

from dataclasses import dataclass
from typing import Protocol

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.sample import Sample


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

    def sample(self, uuid: str, engine_pid: int | None) -> Sample:
        """What the device is doing; `engine_pid` is the process that computes on it, if any."""

    def close(self) -> None:
        """Let go of the driver. The door cannot be used afterwards."""
