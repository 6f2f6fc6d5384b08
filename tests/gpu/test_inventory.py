"""Devices are real where there are any, simulated and said so where there are none."""

import pytest

from constellation_pipelines.domain.device import Device
from constellation_pipelines.gpu.inventory import inventory, simulated_devices, visible

GPUS = [
    Device(f"GPU-{name}", index, "NVIDIA H200", 143_000, "9.0", simulated=False)
    for index, name in enumerate(("aaaa", "abbb", "cccc"))
]


def uuids(mask: str | None) -> list[str]:
    return [device.uuid for device in visible(GPUS, mask)]


def test_without_a_mask_every_gpu_is_offered() -> None:
    assert uuids(None) == ["GPU-aaaa", "GPU-abbb", "GPU-cccc"]


@pytest.mark.parametrize(
    ("mask", "offered"),
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
def test_an_inherited_mask_is_honoured(mask: str, offered: list[str]) -> None:
    assert uuids(mask) == offered


def test_simulated_devices_say_so_and_keep_their_uuids() -> None:
    first = simulated_devices("host", 2)
    assert first == simulated_devices("host", 2)
    assert len({device.uuid for device in first}) == 2
    assert all(device.simulated and device.uuid.startswith("SIM-") for device in first)
    assert first[0].uuid != simulated_devices("other", 1)[0].uuid


def test_a_host_without_gpus_offers_simulated_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hides real ones, if there are any
    assert [device.simulated for device in inventory("host", 2)] == [True, True]
    assert inventory("host", 0) == []
