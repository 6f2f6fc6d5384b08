"""A stand-in for NVIDIA's library, below pynvml: our door and pynvml itself run as they are.

Two GPUs: the first whole, the second cut into two MIG instances. Arguments come as ctypes made
them, so what pynvml passes by reference is filled in here as C would.
"""

import ctypes
import queue
from typing import Any

import pynvml
import pytest

OK = int(pynvml.NVML_SUCCESS)
NOT_FOUND = int(pynvml.NVML_ERROR_NOT_FOUND)
TIMEOUT = int(pynvml.NVML_ERROR_TIMEOUT)
GPU_IS_LOST = int(pynvml.NVML_ERROR_GPU_IS_LOST)
WHOLE, CUT = 1, 2
INSTANCES = {21: 3, 22: 5}  # handle -> number of its GPU instance
UUIDS = {WHOLE: "GPU-aaaa", CUT: "GPU-bbbb", 21: "MIG-1111", 22: "MIG-2222"}
NO_INSTANCE = 0xFFFFFFFF


class Driver:
    """What libnvidia-ml answers. `lost` are handles that no longer do."""

    def __init__(self) -> None:
        self.lost: set[int] = set()
        self.events: queue.SimpleQueue[tuple[int, int, int]] = queue.SimpleQueue()
        self.registered: list[int] = []
        self.running = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of the library."""
        patch.setattr(pynvml, "nvmlLib", self)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def befall(self, handle: int, xid: int, instance: int = NO_INSTANCE) -> None:
        """An Xid on a GPU, or on one of its instances."""
        self.events.put((handle, xid, instance))

    def nvmlInitWithFlags(self, _flags: Any) -> int:
        self.running = True
        return OK

    def nvmlShutdown(self) -> int:
        self.running = False
        return OK

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        return give(count, 2)

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:
        return point(device._obj, (WHOLE, CUT)[index.value])

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, _size: Any) -> int:
        return self.answer(handle) or write(text, UUIDS[number(handle)])

    def nvmlDeviceGetName(self, handle: Any, text: Any, _size: Any) -> int:
        name = "NVIDIA H200 MIG 3g.71gb" if number(handle) in INSTANCES else "NVIDIA H200"
        return write(text, name)

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        if (failure := self.answer(handle)) != OK:
            return failure
        memory._obj.total = (70_000 if number(handle) in INSTANCES else 143_000) * 2**20
        return OK

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> int:
        assert number(handle) not in INSTANCES, "NVML answers this for whole GPUs"
        return give(major, 9) or give(minor, 0)

    def nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        cut = int(number(handle) == CUT)
        return give(current, cut) or give(pending, cut)

    def nvmlDeviceGetMaxMigDeviceCount(self, _handle: Any, count: Any) -> int:
        return give(count, 7)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, _handle: Any, index: Any, device: Any) -> int:
        places = {0: 21, 2: 22}
        if index.value not in places:
            return NOT_FOUND
        return point(device._obj, places[index.value])

    def nvmlDeviceIsMigDeviceHandle(self, handle: Any, answer: Any) -> int:
        return give(answer, int(number(handle) in INSTANCES))

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, _handle: Any, device: Any) -> int:
        return point(device._obj, CUT)

    def nvmlDeviceGetGpuInstanceId(self, handle: Any, answer: Any) -> int:
        return give(answer, INSTANCES[number(handle)])

    def nvmlEventSetCreate(self, _events: Any) -> int:
        return OK

    def nvmlEventSetFree(self, _events: Any) -> int:
        return OK

    def nvmlDeviceRegisterEvents(self, handle: Any, kinds: Any, _events: Any) -> int:
        assert kinds.value == pynvml.nvmlEventTypeXidCriticalError
        self.registered.append(number(handle))
        return OK

    def nvmlEventSetWait_v2(self, _events: Any, data: Any, timeout_ms: Any) -> int:
        try:
            handle, xid, instance = self.events.get(timeout=timeout_ms.value / 1000)
        except queue.Empty:
            return TIMEOUT
        point(data._obj, handle)  # the structure begins with the device
        data._obj.eventData, data._obj.gpuInstanceId = xid, instance
        return OK

    def answer(self, handle: Any) -> int:
        return GPU_IS_LOST if number(handle) in self.lost else OK


def number(handle: Any) -> int:
    """A handle is an opaque pointer; ours point at small numbers."""
    return int(ctypes.cast(handle, ctypes.c_void_p).value or 0)


def point(pointer: Any, target: int) -> int:
    ctypes.c_void_p.from_buffer(pointer).value = target
    return OK


def give(reference: Any, value: int) -> int:
    reference._obj.value = value
    return OK


def write(text: Any, value: str) -> int:
    text.value = value.encode()
    return OK
