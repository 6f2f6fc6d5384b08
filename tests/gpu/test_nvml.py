"""The real door on pynvml, with a stand-in for the library below it."""

import time
from collections.abc import Iterator

import pytest

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.simulation import SimulationFile
from constellation_pipelines.gpu import nvml
from constellation_pipelines.gpu.door import DeviceEvent
from constellation_pipelines.gpu.inventory import offered, open_door
from constellation_pipelines.gpu.nvml import NvmlDoor
from constellation_pipelines.gpu.xid import LOST
from tests.gpu.driver import CUT, WHOLE, Driver

WAIT_S = 60.0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    installed = Driver()
    installed.install(monkeypatch)
    monkeypatch.setattr(nvml, "WAIT_MS", 20)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return installed


@pytest.fixture
def door(driver: Driver) -> Iterator[NvmlDoor]:
    opened = NvmlDoor.open()
    assert opened is not None
    yield opened
    opened.close()


def events(door: NvmlDoor, count: int) -> list[DeviceEvent]:
    """So many events, once they have come."""
    found: list[DeviceEvent] = []
    deadline = time.monotonic() + WAIT_S
    while len(found) < count:
        assert time.monotonic() < deadline, found
        found += door.events()
        time.sleep(0.01)
    return found


def test_a_whole_gpu_and_the_instances_of_a_cut_one_are_devices(door: NvmlDoor) -> None:
    part = "NVIDIA H200 MIG 3g.71gb"
    assert door.devices() == [
        Device("GPU-aaaa", 0, "NVIDIA H200", 143_000, "9.0", False),
        Device("MIG-1111", 200, part, 70_000, "9.0", False, "GPU-bbbb"),
        Device("MIG-2222", 201, part, 70_000, "9.0", False, "GPU-bbbb"),
    ]


def test_each_gpu_is_asked_for_events_once(driver: Driver, door: NvmlDoor) -> None:
    driver.befall(WHOLE, 13)
    assert events(door, 1) == [DeviceEvent("GPU-aaaa", 13)]
    assert sorted(driver.registered) == [WHOLE, CUT]


def test_an_event_of_an_instance_is_its_own_and_one_of_the_gpu_is_everybodys(
    driver: Driver, door: NvmlDoor
) -> None:
    driver.befall(CUT, 31, instance=5)
    assert events(door, 1) == [DeviceEvent("MIG-2222", 31)]
    driver.befall(CUT, 79)
    assert events(door, 2) == [DeviceEvent("MIG-1111", 79), DeviceEvent("MIG-2222", 79)]


def test_a_lost_gpu_is_told_once(driver: Driver, door: NvmlDoor) -> None:
    driver.lost.add(WHOLE)
    assert events(door, 1) == [DeviceEvent("GPU-aaaa", LOST)]
    time.sleep(0.2)
    assert door.events() == []


def test_the_mask_chooses_among_them_and_an_empty_one_leaves_simulated_devices(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2222,0")
    door = open_door("host", 4, SimulationFile(None))
    assert [device.uuid for device in offered(door)] == ["MIG-2222", "GPU-aaaa"]
    door.close()
    assert not driver.running
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    door = open_door("host", 4, SimulationFile(None))
    assert [device.simulated for device in offered(door)] == [True] * 4
    assert not driver.running, "the door that is not used is closed"
