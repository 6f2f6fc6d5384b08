"""Devices are real where there are any, simulated and said so where there are none."""

from pathlib import Path

import pytest

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.simulation import SimulationFile
from constellation_pipelines.gpu.door import DeviceEvent
from constellation_pipelines.gpu.inventory import offered, open_door, visible
from constellation_pipelines.gpu.nvml import NvmlDoor, mig_index, parent_index, spread
from constellation_pipelines.gpu.simulated import SimulatedDoor, simulated_devices

GPUS = [
    Device(f"GPU-{name}", index, "NVIDIA H200", 143_000, "9.0", simulated=False)
    for index, name in enumerate(("aaaa", "abbb", "cccc"))
]
# GPU 0 is whole, GPU 1 is cut into two instances: it is not offered itself.
INSTANCES = [
    Device(
        f"MIG-{number}",
        mig_index(1, number),
        "NVIDIA H200 MIG 1g.18gb",
        16_000,
        "9.0",
        False,
        GPUS[1].uuid,
    )
    for number in range(2)
]
CUT = [GPUS[0], *INSTANCES]
NOTHING_TOLD = SimulationFile(None)


def uuids(mask: str | None, devices: list[Device] = GPUS) -> list[str]:
    return [device.uuid for device in visible(devices, mask)]


def test_without_a_mask_every_gpu_is_offered() -> None:
    assert uuids(None) == ["GPU-aaaa", "GPU-abbb", "GPU-cccc"]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("", []),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("GPU-cccc", ["GPU-cccc"]),
        ("GPU-ab", ["GPU-abbb"]),
        ("GPU-a", []),  # not unique
        ("0,7,1", ["GPU-aaaa"]),  # CUDA stops at the first unknown name
        ("-1", []),
    ],
)
def test_an_inherited_mask_is_honoured(mask: str, expected: list[str]) -> None:
    assert uuids(mask) == expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("MIG-1", ["MIG-1"]),
        ("MIG-1,0", ["MIG-1", "GPU-aaaa"]),
        ("1", ["MIG-0", "MIG-1"]),  # a GPU stands for all of its instances
        ("GPU-abbb", ["MIG-0", "MIG-1"]),
        ("GPU-ab,MIG-0", ["MIG-0", "MIG-1"]),
        ("MIG-", []),
        ("GPU-", []),
        ("200", []),  # our own number of an instance is no name of CUDA's
    ],
)
def test_a_mask_may_name_mig_instances_or_the_gpu_they_are_parts_of(
    mask: str, expected: list[str]
) -> None:
    assert uuids(mask, CUT) == expected


def test_the_numbers_of_devices_are_all_different_and_lead_back_to_their_gpu() -> None:
    numbers = [mig_index(gpu, number) for gpu in range(16) for number in range(7)]
    assert len({*numbers, *range(16)}) == len(numbers) + 16
    assert [parent_index(device) for device in CUT] == [0, 1, 1]


def test_what_befalls_a_gpu_befalls_its_instances() -> None:
    assert spread(DeviceEvent("GPU-aaaa", 79), CUT) == [DeviceEvent("GPU-aaaa", 79)]
    both = [DeviceEvent("MIG-0", 79), DeviceEvent("MIG-1", 79)]
    assert spread(DeviceEvent("GPU-abbb", 79), CUT) == both
    assert spread(DeviceEvent("MIG-1", 31), CUT) == [DeviceEvent("MIG-1", 31)]
    assert spread(DeviceEvent("GPU-of-another", 79), CUT) == []


def test_simulated_devices_say_so_and_keep_their_uuids() -> None:
    first = simulated_devices("host", 2)
    assert first == simulated_devices("host", 2)
    assert len({device.uuid for device in first}) == 2
    assert all(device.simulated and device.uuid.startswith("SIM-") for device in first)
    assert first[0].uuid != simulated_devices("other", 1)[0].uuid


def test_a_host_whose_gpus_are_hidden_offers_simulated_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hides real ones, if there are any
    door = open_door("host", 2, NOTHING_TOLD)
    assert isinstance(door, SimulatedDoor)
    assert [device.simulated for device in offered(door)] == [True, True]
    assert offered(open_door("host", 0, NOTHING_TOLD)) == []


def test_the_real_door_opens_where_there_is_a_driver_and_is_cleanly_absent_elsewhere() -> None:
    door = NvmlDoor.open()
    if door is None:
        assert not Path("/proc/driver/nvidia/gpus").exists()
        return
    assert door.devices()
    assert door.events() == []
    door.close()
