"""Which devices this host has: by NVML, or simulated where it finds none."""

import os
from collections.abc import Iterable

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.simulation import SimulationFile
from constellation_pipelines.gpu.door import DeviceDoor
from constellation_pipelines.gpu.nvml import NvmlDoor, parent_index
from constellation_pipelines.gpu.simulated import SimulatedDoor

MASK = "CUDA_VISIBLE_DEVICES"


def open_door(host: str, simulate: int, simulation: SimulationFile) -> DeviceDoor:
    """NVML where the inherited mask leaves us a GPU of it, else `simulate` simulated devices."""
    door = NvmlDoor.open()
    if door is not None:
        if visible(door.devices(), os.environ.get(MASK)):
            return door
        door.close()
    return SimulatedDoor(host, simulate, simulation)


def offered(door: DeviceDoor) -> list[Device]:
    """The devices of a door that are ours to offer. The mask says nothing of simulated ones."""
    devices = door.devices()
    if any(device.simulated for device in devices):
        return devices
    return visible(devices, os.environ.get(MASK))


def visible(devices: Iterable[Device], mask: str | None) -> list[Device]:
    """The devices that an inherited CUDA_VISIBLE_DEVICES leaves to us, in the mask's order.

    As in CUDA, the mask names devices by index or by a unique prefix of their uuid, and ends at
    the first name that is not there. A GPU that is cut into MIG instances stands for all of them:
    CUDA itself would see its first one only, but we give each engine one by its own uuid.
    """
    devices = list(devices)
    if mask is None:
        return devices
    chosen: list[Device] = []
    for name in filter(None, (part.strip() for part in mask.split(","))):
        match = named(devices, name)
        if not match:
            break
        chosen += [device for device in match if device not in chosen]
    return chosen


def named(devices: Iterable[Device], name: str) -> list[Device]:
    """The one device of this name, or the instances of the one GPU of this name; else none."""
    devices = list(devices)
    own = [device for device in devices if device.uuid.startswith(name)]
    gpus = {
        device.parent_uuid or device.uuid
        for device in devices
        if str(parent_index(device)) == name
        or (device.parent_uuid is not None and device.parent_uuid.startswith(name))
    }
    if len(own) + len(gpus) != 1:
        return []
    return own or [device for device in devices if (device.parent_uuid or device.uuid) in gpus]
