"""The engine's benchmark, part by part."""

import os
import tempfile
from pathlib import Path

from benchmarks.engine import scenes
from benchmarks.engine.comparison import compare
from benchmarks.engine.limits import Limits
from benchmarks.engine.memory import measure_memory
from benchmarks.engine.ours import engine
from benchmarks.engine.plan import Plan, plan_of_environment, workloads
from benchmarks.engine.report import compared_rows, memory_rows
from benchmarks.measurement import Measurement


def measure() -> list[Measurement]:
    """Measure everything; about ten minutes on two quiet cores, the quick form two."""
    plan = plan_of_environment()
    limits = Limits()
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=scenes.cache_folder()) as name:
            folder = Path(name)
            rows = compare_all(plan, limits, folder)
            return rows + memory_rows(measure_memory(plan, folder)) + gpu_rows(limits)
    finally:
        limits.close()


def compare_all(plan: Plan, limits: Limits, folder: Path) -> list[Measurement]:
    """Every workload against its peers and limits, by one engine."""
    rows: list[Measurement] = []
    with engine(folder) as ours:
        for one in workloads(plan):
            rows += compared_rows(compare(one, plan, ours, limits, folder))
    return rows


def gpu_rows(limits: Limits) -> list[Measurement]:
    """On a GPU the same by its own figures."""
    from benchmarks.engine import gpu

    uuids = gpu.devices()
    if not uuids:
        print("no GPU here: chips/s, share of the roofline and idle share of one are not measured")
        return []
    os.environ["CUDA_VISIBLE_DEVICES"] = uuids[0]
    cores = len(os.sched_getaffinity(0))
    return gpu.measure(uuids[0], lambda one: limits.ask(one, "decode", cores).per_s)
