"""Which devices this host has: by NVML, or simulated where it finds none."""

import os
from collections.abc import Iterable
from uuid import NAMESPACE_DNS, uuid5

import psutil

from constellation_pipelines.domain.device import Device

MEBIBYTE = 2**20


def inventory(host: str, simulate: int) -> list[Device]:
    """The host's GPUs, else `simulate` devices that compute on the processor."""
    return visible(nvml_devices(), os.environ.get("CUDA_VISIBLE_DEVICES")) or simulated_devices(
        host, simulate
    )


def nvml_devices() -> list[Device]:
    """Every GPU that NVML lists; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [nvml_device(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def nvml_device(index: int) -> Device:
    """One GPU as NVML describes it."""
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Device(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        total_mem_mb=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // MEBIBYTE,
        compute_capability=f"{major}.{minor}",
        simulated=False,
    )


def visible(devices: Iterable[Device], mask: str | None) -> list[Device]:
    """The devices that an inherited CUDA_VISIBLE_DEVICES leaves to us, in the mask's order.

    As in CUDA, the mask names devices by index or by a unique prefix of their uuid, and ends at
    the first name that is not there.
    """
    devices = list(devices)
    if mask is None:
        return devices
    chosen: list[Device] = []
    for name in filter(None, (part.strip() for part in mask.split(","))):
        match = [d for d in devices if str(d.index) == name or d.uuid.startswith(name)]
        if len(match) != 1:
            break
        chosen.append(match[0])
    return chosen


def simulated_devices(host: str, count: int) -> list[Device]:
    """Devices that compute on the processor. Their uuids stay the same on the same host."""
    memory_mb = psutil.virtual_memory().total // MEBIBYTE
    return [
        Device(
            uuid=f"SIM-{uuid5(NAMESPACE_DNS, f'{host}/{index}')}",
            index=index,
            name="Simulated GPU (processor)",
            total_mem_mb=int(memory_mb // max(count, 1)),
            compute_capability=None,
            simulated=True,
        )
        for index in range(count)
    ]
