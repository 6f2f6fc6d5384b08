"""Memory, growth with the number of scenes, a cold cache: a large scene through a new engine."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine import packages, scenes
from benchmarks.engine.counters import drop_from_cache
from benchmarks.engine.gate import Verdict, judge
from benchmarks.engine.ours import Visit, engine
from benchmarks.engine.plan import Plan
from benchmarks.engine.workload import Workload, workload


@dataclass(frozen=True, slots=True)
class MemoryFound:
    """`idle_mb` is an engine that has loaded torch and no model, `weights_mb` the model's file.

    `first` visits the scene with a warm cache, `many` are visits of links to it, one after another;
    `cold` has the scene's pages dropped before. `verdict` is that of the last map.
    """

    workload: Workload
    idle_mb: float
    weights_mb: float
    first: Visit
    many: tuple[Visit, ...]
    cold: Visit
    warm: Visit
    verdict: Verdict


def measure_memory(plan: Plan, folder: Path) -> MemoryFound | None:
    """A large scene through an engine that has done nothing else; None without the model."""
    package = packages.shipped("eurosat-landcover")
    if package is None:
        return None
    large = workload("eurosat-landcover", package, scenes.synthetic(plan.large_scene_px), 0)
    weights_mb = (package / large.model.card.weights_file).stat().st_size / 1e6
    out = folder / "large.tif"
    print(f"memory and growth on {large.scene.name}", flush=True)
    with engine(folder) as ours:
        first = ours.visit(large, out)  # loads the model too
        warm = ours.visit(large, out)
        drop_from_cache(large.scene.path)
        cold = ours.visit(large, out)
        many = [ours.visit(large, out, link) for link in links(large.scene.path, folder, plan.many)]
        idle_mb = ours.idle_mb
    verdict = judge(large, out)
    return MemoryFound(large, idle_mb, weights_mb, first, tuple(many), cold, warm, verdict)


def links(scene: Path, folder: Path, count: int) -> list[Path]:
    """Other names of one file."""
    made = []
    for number in range(count):
        link = folder / f"scene-{number}.tif"
        link.symlink_to(scene)
        made.append(link)
    return made
