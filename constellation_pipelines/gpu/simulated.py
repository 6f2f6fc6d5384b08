"""The simulated door: devices that compute on the processor, and fail as a file tells them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import NAMESPACE_DNS, uuid5

import psutil

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.domain.simulation import DeviceScript, SimulationFile
from constellation_pipelines.gpu.door import DeviceEvent
from constellation_pipelines.gpu.xid import LOST

MEBIBYTE = 2**20


class SimulatedDoor:
    """Plays NVML's part. What the file says when the door opens has happened already."""

    def __init__(self, host: str, count: int, file: SimulationFile) -> None:
        self._file = file
        said = file.read()
        self._devices = [
            resized(device, said.script_of(device.uuid, device.index))
            for device in simulated_devices(host, count)
        ]
        self._seen = {device.uuid: self._newest(device) for device in self._devices}
        self._engines: dict[str, psutil.Process] = {}
        self._lost = {device.uuid for device in self._devices if self._script(device).lost}

    def devices(self) -> list[Device]:
        """The devices, all of them whole."""
        return list(self._devices)

    def events(self) -> list[DeviceEvent]:
        """What the file has told since the last call."""
        return [event for device in self._devices for event in self._events_of(device)]

    def sample(self, uuid: str, engine_pid: int | None) -> Sample:
        """What the process in the device's place is doing."""
        now = datetime.now(UTC)
        engine = self._process(uuid, engine_pid)
        if engine is None:
            return Sample(uuid, now, simulated=True, utilisation_pct=0.0, mem_used_mb=0)
        try:
            busy = engine.cpu_percent() / len(os.sched_getaffinity(0))
            used_mb = engine.memory_info().rss // MEBIBYTE
        except psutil.Error:  # it has just ended
            return Sample(uuid, now, simulated=True, utilisation_pct=0.0, mem_used_mb=0)
        return Sample(uuid, now, True, min(100.0, round(busy, 1)), int(used_mb))

    def _process(self, uuid: str, pid: int | None) -> psutil.Process | None:
        """The process, kept between two samples: its share of the processors is one since then."""
        known = self._engines.get(uuid)
        if known is not None and known.pid == pid:
            return known
        self._engines.pop(uuid, None)
        if pid is not None:
            with suppress(psutil.Error):
                self._engines[uuid] = psutil.Process(pid)
        return self._engines.get(uuid)

    def close(self) -> None:
        """Nothing to let go of."""

    def _events_of(self, device: Device) -> Iterator[DeviceEvent]:
        script = self._script(device)
        for xid in sorted(script.xids, key=lambda xid: xid.serial):
            if xid.serial > self._seen[device.uuid]:
                self._seen[device.uuid] = xid.serial
                yield DeviceEvent(device.uuid, xid.number)
        if script.lost and device.uuid not in self._lost:
            self._lost.add(device.uuid)
            yield DeviceEvent(device.uuid, LOST)
        elif not script.lost:
            self._lost.discard(device.uuid)

    def _script(self, device: Device) -> DeviceScript:
        return self._file.read().script_of(device.uuid, device.index)

    def _newest(self, device: Device) -> int:
        return max((xid.serial for xid in self._script(device).xids), default=0)


def resized(device: Device, script: DeviceScript) -> Device:
    """A device with the memory its script gives it."""
    return device if script.memory_mb is None else replace(device, total_mem_mb=script.memory_mb)


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
