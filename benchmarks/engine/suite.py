"""The engine's benchmark, part by part."""

import os
import tempfile
from pathlib import Path

from benchmarks.engine import scenes
from benchmarks.engine.comparison import Compared, compare
from benchmarks.engine.limits import Limits
from benchmarks.engine.memory import measure_memory
from benchmarks.engine.ours import engine
from benchmarks.engine.plan import Plan, plan_of_environment, workloads
from benchmarks.engine.report import compared_rows, memory_rows
from benchmarks.engine.workload import Workload
from benchmarks.measurement import Measurement


def run() -> list[Measurement]:
    """Measure everything; about ten minutes on two quiet cores, the quick form one."""
    plan = plan_of_environment()
    with tempfile.TemporaryDirectory(prefix="run-", dir=scenes.cache_folder()) as folder:
        found = list(workloads(plan))
        rows = [row for one in compare_all(found, plan, Path(folder)) for row in compared_rows(one)]
        rows += memory_rows(measure_memory(plan, Path(folder)))
    return rows + gpu_rows()


def compare_all(found: list[Workload], plan: Plan, folder: Path) -> list[Compared]:
    """Every workload against its peers and limits; one engine and one process of limits for all."""
    limits = Limits()
    try:
        with engine(folder) as ours:
            return [compare(one, plan, ours, limits, folder) for one in found]
    finally:
        limits.close()


def gpu_rows() -> list[Measurement]:
    """On a GPU the same by its own figures."""
    from benchmarks.engine.gpu import devices, measure

    uuids = devices()
    if not uuids:
        print("no GPU here: chips/s, share of the roofline and idle share of one are not measured")
        return []
    os.environ["CUDA_VISIBLE_DEVICES"] = uuids[0]
    return measure(uuids[0])
