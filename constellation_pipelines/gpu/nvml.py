"""The real door: NVML by pynvml. Only this module knows it."""

import queue
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.gpu.door import DeviceEvent
from constellation_pipelines.gpu.xid import LOST

MEBIBYTE = 2**20
WAIT_MS = 1000
MIG_PER_GPU = 100  # numbers kept for the instances of one GPU; today's have seven at most

Answer = TypeVar("Answer")

Handle = Any  # pynvml's own, an opaque pointer


class NvmlDoor:
    """This host's GPUs. A thread of its own waits for events: NVML may block on a lost device."""

    def __init__(self) -> None:
        import pynvml

        self._handles = dict(handles())
        self._devices = [describe(index, handle) for index, handle in self._handles.items()]
        self._by_uuid = {
            device.uuid: handle
            for device, handle in zip(self._devices, self._handles.values(), strict=True)
        }
        self._parents = {
            pynvml.nvmlDeviceGetUUID(handle): handle for handle in parents(self._handles.values())
        }
        self._instances = dict(instances(self._handles.values()))
        self._lost: set[str] = set()
        self._events: queue.SimpleQueue[DeviceEvent] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="nvml", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls) -> "NvmlDoor | None":
        """The door, or None where this host has no driver, or one that knows no GPU."""
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        try:
            if pynvml.nvmlDeviceGetCount() > 0:
                return cls()
        except pynvml.NVMLError as error:
            print(f"NVML cannot list this host's GPUs: {error}", flush=True)
        pynvml.nvmlShutdown()
        return None

    def devices(self) -> list[Device]:
        """Every GPU, or in its place the MIG instances it is cut into."""
        return list(self._devices)

    def events(self) -> list[DeviceEvent]:
        """What has happened since the last call; of a GPU in instances, once for each of them."""
        found: list[DeviceEvent] = []
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return [one for event in found for one in spread(event, self._devices)]
            found.append(event)

    def sample(self, uuid: str, engine_pid: int | None) -> Sample:
        """What NVML tells of the device. Of a MIG instance only its memory is its own."""
        handle = self._by_uuid[uuid]
        return Sample(
            device_uuid=uuid,
            at=datetime.now(UTC),
            simulated=False,
            utilisation_pct=asked(lambda nvml: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            mem_used_mb=asked(lambda nvml: nvml.nvmlDeviceGetMemoryInfo(handle).used // MEBIBYTE),
            temperature_c=asked(lambda nvml: nvml.nvmlDeviceGetTemperature(handle, 0)),
            power_w=asked(lambda nvml: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            energy_j=asked(lambda nvml: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000),
        )

    def close(self) -> None:
        """Stop watching and shut NVML down, unless a lost device holds the thread in it."""
        import pynvml

        self._stopping.set()
        self._thread.join(2 * WAIT_MS / 1000)
        if not self._thread.is_alive():
            pynvml.nvmlShutdown()

    def _watch(self) -> None:
        import pynvml

        try:
            events = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError as error:
            print(f"NVML tells of no events: {error}", flush=True)
            return
        try:
            for uuid, handle in self._parents.items():
                self._register(uuid, handle, events)
            while not self._stopping.is_set():
                self._wait(events)
                self._look_for_lost()
        except pynvml.NVMLError as error:
            print(f"NVML tells of no more events: {error}", flush=True)
        finally:
            pynvml.nvmlEventSetFree(events)

    def _register(self, uuid: str, handle: Handle, events: Any) -> None:
        import pynvml

        try:
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
        except pynvml.NVMLError as error:  # old cards and some virtual ones have none
            print(f"{uuid} reports no Xid events: {error}", flush=True)

    def _wait(self, events: Any) -> None:
        import pynvml

        try:
            data = pynvml.nvmlEventSetWait(events, WAIT_MS)
        except pynvml.NVMLError_Timeout:
            return
        except pynvml.NVMLError_GpuIsLost:  # which one, the look tells
            self._stopping.wait(WAIT_MS / 1000)
            return
        try:
            uuid = pynvml.nvmlDeviceGetUUID(data.device)
        except pynvml.NVMLError:
            return  # lost between the event and the question
        device = self._instances.get((uuid, data.gpuInstanceId), uuid)
        self._events.put(DeviceEvent(device, int(data.eventData)))

    def _look_for_lost(self) -> None:
        import pynvml

        for uuid, handle in self._parents.items():
            try:
                pynvml.nvmlDeviceGetMemoryInfo(handle)
                self._lost.discard(uuid)
            except pynvml.NVMLError_GpuIsLost:
                if uuid not in self._lost:
                    self._lost.add(uuid)
                    self._events.put(DeviceEvent(uuid, LOST))
            except pynvml.NVMLError:
                continue  # busy or not allowed is not lost


def asked(question: Callable[[Any], Answer]) -> Answer | None:
    """What NVML answers, None where the device or its driver does not tell."""
    import pynvml

    try:
        return question(pynvml)
    except pynvml.NVMLError:
        return None


def spread(event: DeviceEvent, devices: Iterable[Device]) -> list[DeviceEvent]:
    """A GPU's event as one of each device on offer that it befalls: itself, or its instances."""
    return [
        DeviceEvent(device.uuid, event.xid)
        for device in devices
        if event.uuid in (device.uuid, device.parent_uuid)
    ]


def handles() -> Iterable[tuple[int, Handle]]:
    """Number and handle of each GPU, or in its place of the MIG instances it is cut into."""
    import pynvml

    for index in range(pynvml.nvmlDeviceGetCount()):
        gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        instances = list(mig_handles(gpu))
        if not is_cut(gpu):
            yield index, gpu
        for number, instance in enumerate(instances):
            yield mig_index(index, number), instance


def mig_index(parent_index: int, number: int) -> int:
    """A MIG instance's number on this host: 100, 101, ... on GPU 0, 200, 201, ... on GPU 1."""
    return MIG_PER_GPU * (parent_index + 1) + number


def parent_index(device: Device) -> int:
    """The number of the GPU that a device is, or is a part of."""
    return device.index if device.parent_uuid is None else device.index // MIG_PER_GPU - 1


def is_cut(gpu: Handle) -> bool:
    """Whether a GPU is in MIG mode, so that it cannot be used whole."""
    import pynvml

    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(gpu)
    except pynvml.NVMLError:  # cards without MIG do not know the question
        return False
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def mig_handles(gpu: Handle) -> Iterable[Handle]:
    """The MIG instances of a GPU, none where it is whole."""
    import pynvml

    if not is_cut(gpu):
        return
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)
        except pynvml.NVMLError_NotFound:  # a place without an instance
            continue


def parents(found: Iterable[Handle]) -> Iterable[Handle]:
    """The GPUs behind devices; events are those of a whole GPU."""
    return [parent_of(handle) or handle for handle in found]


def parent_of(handle: Handle) -> Handle | None:
    """The GPU that a MIG instance is a part of, None for a whole GPU."""
    import pynvml

    try:
        if pynvml.nvmlDeviceIsMigDeviceHandle(handle):
            return pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    except pynvml.NVMLError:  # drivers from before MIG
        pass
    return None


def instances(found: Iterable[Handle]) -> Iterable[tuple[tuple[str, int], str]]:
    """GPU's uuid and number of the GPU instance, as events name it -> the MIG instance's uuid."""
    import pynvml

    for handle in found:
        parent = parent_of(handle)
        if parent is not None:
            place = pynvml.nvmlDeviceGetUUID(parent), pynvml.nvmlDeviceGetGpuInstanceId(handle)
            yield place, pynvml.nvmlDeviceGetUUID(handle)


def describe(index: int, handle: Handle) -> Device:
    """One device as NVML describes it."""
    import pynvml

    parent = parent_of(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(parent or handle)
    return Device(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        total_mem_mb=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // MEBIBYTE,
        compute_capability=f"{major}.{minor}",
        simulated=False,
        parent_uuid=pynvml.nvmlDeviceGetUUID(parent) if parent else None,
    )
