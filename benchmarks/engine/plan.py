"""What a benchmark run does: which workloads, how large, how many rounds."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine import packages, scenes
from benchmarks.engine.workload import Workload, workload

QUICK, ROUNDS, PEERS = "ENGINE_BENCH_QUICK", "ENGINE_BENCH_ROUNDS", "ENGINE_BENCH_PEERS"
ONLY = "ENGINE_BENCH_WORKLOADS"
SAMPLE_DATA = "CONSTELLATION_TEST_DATA"
REAL_SCENE = "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif"


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes in pixels of square scenes; `many` is how many scenes in a row grow linearly."""

    rounds: int
    chip_scene_px: int
    dense_scene_px: int
    large_scene_px: int
    many: int
    peer_chips: int
    peers: tuple[str, ...]


FULL = Plan(5, 6144, 3072, scenes.FULL_PX, 16, 700, ("rasterio_loop", "torchgeo_loop"))
SHORT = Plan(1, 1024, 512, 1536, 3, 32, ("rasterio_loop", "torchgeo_loop"))


def plan_of_environment() -> Plan:
    """The full plan, or the quick one, with what the environment changes of it."""
    plan = SHORT if os.environ.get(QUICK) else FULL
    rounds = int(os.environ.get(ROUNDS, plan.rounds))
    peers = plan.peers if os.environ.get(PEERS, "1") != "0" else ()
    return Plan(
        rounds,
        plan.chip_scene_px,
        plan.dense_scene_px,
        plan.large_scene_px,
        plan.many,
        plan.peer_chips,
        peers,
    )


def workloads(plan: Plan) -> Iterator[Workload]:
    """Those of the plan; a model or scene that is missing is named and left out."""
    wanted = os.environ.get(ONLY)
    for name, package, px, chips in (
        ("eurosat-landcover", packages.shipped("eurosat-landcover"), plan.chip_scene_px, 1),
        ("ResNet-18, 64 px", packages.resnet18(), plan.chip_scene_px, 1),
        ("U-Net 16-128, 256 px", packages.unet(), plan.dense_scene_px, 20),
    ):
        if package is None:
            print(f"{name}: left out, its package is not here", flush=True)
        elif wanted is None or wanted in name:
            yield workload(name, package, scenes.synthetic(px), max(8, plan.peer_chips // chips))
    source = Path(os.environ.get(SAMPLE_DATA, "../shared/data")) / "scenes" / REAL_SCENE
    package = packages.shipped("eurosat-landcover")
    if package is None or not source.exists():
        print(f"real scene: left out, {source} is not here", flush=True)
    elif wanted is None or wanted in "real scene":
        real = scenes.real(source, plan.chip_scene_px)
        yield workload("eurosat-landcover, real scene", package, real, plan.peer_chips)
