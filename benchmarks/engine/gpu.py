"""The engine on a GPU, beside what the GPU, its bus and the processor's decoding allow.

Written with care and not yet run on a GPU.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine import packages, scenes
from benchmarks.engine.gate import judge
from benchmarks.engine.ours import engine
from benchmarks.engine.plan import plan_of_environment
from benchmarks.engine.report import gated
from benchmarks.engine.rounds import Timed
from benchmarks.engine.workload import Workload, workload
from benchmarks.measurement import Bar, Measurement

MATRIX = 8192
COPY_BYTES = 256 * 2**20
REPEATS = 20
FORWARD_CHIPS = (4096, 64)  # in a batch, of a classifier and of a dense network
IDLE = Bar(0.10, at_most=True)
SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Roof:
    """Chips per second that each part of the machine allows at most."""

    compute: float
    bus: float
    decode: float
    forward: float

    @property
    def lowest(self) -> float:
        """What is reached first: decoding, the bus, or the network as it is."""
        return min(self.bus, self.decode, self.forward)


def devices() -> list[str]:
    """UUIDs of the GPUs here."""
    from pynvml import (
        NVMLError,
        nvmlDeviceGetCount,
        nvmlDeviceGetHandleByIndex,
        nvmlDeviceGetUUID,
        nvmlInit,
    )

    try:
        nvmlInit()
        count = nvmlDeviceGetCount()
        return [str(nvmlDeviceGetUUID(nvmlDeviceGetHandleByIndex(i))) for i in range(count)]
    except NVMLError:
        return []


def measure(uuid: str, decode_per_s: Callable[[Workload], float]) -> list[Measurement]:
    """Rows of the GPU; `decode_per_s` is what all cores decode of a workload."""
    plan = plan_of_environment()
    scene = scenes.synthetic(plan.large_scene_px)
    found = [
        workload("ResNet-18, 64 px", packages.resnet18(), scene, 0),
        workload("U-Net 16-128, 256 px", packages.unet(), scene, 0),
    ]
    rows = []
    with tempfile.TemporaryDirectory(prefix="gpu-", dir=scenes.cache_folder()) as folder:
        with engine(Path(folder), uuid) as ours:
            for one in found:
                out = Path(folder) / "classes.tif"
                ours.visit(one, out)
                with BusyShare(uuid) as busy:
                    visit = ours.visit(one, out)
                roof = roof_of(one, decode_per_s(one))
                told = conditions_of(one, roof, device_name())
                figures = rows_of(one, visit.timed, roof, busy.share, told)
                rows += gated(f"GPU, {one.name}", judge(one, out), told, figures)
    return rows


def conditions_of(one: Workload, roof: Roof, device: str) -> dict[str, Any]:
    """What a workload's figures depend on."""
    return {"scene": one.scene.remark, "device": device, "roof": roof_in_words(roof)}


def rows_of(
    one: Workload, timed: Timed, roof: Roof, busy: float, told: dict[str, Any]
) -> list[Measurement]:
    """One workload's."""
    name = f"GPU, {one.name}"
    of_roof = timed.per_s / roof.lowest
    return [
        Measurement(f"{name}: chips", timed.per_s, "1/s", limit=roof.lowest, conditions=told),
        Measurement(f"{name}: scenes", 60 / timed.wall_s, "1/min", conditions=told),
        Measurement(
            f"{name}: share of the roofline", of_roof, "", Bar(0.9, at_most=False), conditions=told
        ),
        Measurement(
            f"{name}: network alone", roof.forward, "1/s", limit=roof.compute, conditions=told
        ),
        Measurement(f"{name}: idle share", 1 - busy, "", IDLE, conditions=told),
    ]


def roof_in_words(roof: Roof) -> dict[str, float]:
    """Chips per second, rounded."""
    names = ("compute", "bus", "decode", "forward")
    return {name: round(getattr(roof, name)) for name in names}


def roof_of(one: Workload, decode_per_s: float) -> Roof:
    """Measured on this GPU, for this network."""
    card = one.model.card
    item_bytes = 2 if one.dtype == "uint16" else 1
    chip_bytes = len(card.bands) * card.chip_px**2 * item_bytes
    return Roof(
        compute=matmul_flops() / flops_of(one),
        bus=copy_bytes_per_s() / chip_bytes,
        decode=decode_per_s,
        forward=forward_per_s(one),
    )


def device_name() -> str:
    """As CUDA names it."""
    import torch

    return str(torch.cuda.get_device_name(0))


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Of one repeat, by the device's own clock."""
    import torch

    cuda: Any = torch.cuda
    for _ in range(3):
        work()
    begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / repeats


def matmul_flops() -> float:
    """Floating point operations per second of a large product in bfloat16."""
    import torch

    left = torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16)
    return 2 * MATRIX**3 / seconds(lambda: left @ left)


def copy_bytes_per_s() -> float:
    """From pinned memory to the device."""
    import torch

    source = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    target = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    return COPY_BYTES / seconds(lambda: target.copy_(source, non_blocking=True))


def flops_of(one: Workload) -> float:
    """Floating point operations of a chip, counted by torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from constellation_pipelines.inference.loading import load_module

    card = one.model.card
    module = load_module(Path(one.model.folder), card)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.zeros(1, len(card.bands), card.chip_px, card.chip_px))
    return float(counter.get_total_flops())


def forward_per_s(one: Workload) -> float:
    """The engine's network alone, one batch over and over."""
    import torch

    from constellation_pipelines.inference.loading import load_module
    from constellation_pipelines.inference.network import Network

    card = one.model.card
    network = Network(load_module(Path(one.model.folder), card), card, torch.device("cuda:0"))
    count = FORWARD_CHIPS[card.dense]
    chips = torch.randn(
        count, len(card.bands), card.chip_px, card.chip_px, device="cuda", dtype=network.dtype
    ).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return count / seconds(lambda: network.module(chips))


class BusyShare:
    """The share of the context's time in which the GPU had something to do, as NVML sees it."""

    def __init__(self, uuid: str) -> None:
        from pynvml import nvmlDeviceGetHandleByUUID

        self._handle = nvmlDeviceGetHandleByUUID(uuid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._seen: list[int] = []

    def __enter__(self) -> "BusyShare":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def share(self) -> float:
        """0 to 1; samples before the first and after the last work are left out."""
        busy = [i for i, percent in enumerate(self._seen) if percent]
        if not busy:
            return 0.0
        worked = self._seen[busy[0] : busy[-1] + 1]
        return sum(worked) / len(worked) / 100

    def _watch(self) -> None:
        from pynvml import nvmlDeviceGetUtilizationRates

        while not self._stop.is_set():
            self._seen.append(int(nvmlDeviceGetUtilizationRates(self._handle).gpu))
            time.sleep(SAMPLE_S)
