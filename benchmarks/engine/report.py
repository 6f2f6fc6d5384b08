"""From what was measured to rows with bars."""

from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from benchmarks.engine.comparison import Compared
from benchmarks.engine.gate import Verdict
from benchmarks.engine.memory import MemoryFound
from benchmarks.engine.rounds import Round, bound_per_cpu_s, growth, spread
from benchmarks.measurement import Bar, Measurement

OF_BOUND = Bar(0.90, at_most=False)
OF_DECODE = Bar(0.80, at_most=False)
AGREEMENT = Bar(0.999, at_most=False)
TIMES = {"torchgeo_loop": Bar(5, at_most=False), "rasterio_loop": Bar(1.2, at_most=False)}
MEMORY_MB = Bar(600, at_most=True)
GROWTH = Bar(1.1, at_most=True)
VOID = "the map differs too much from the float32 reference, so no figure counts"
NAMES = {"torchgeo_loop": "TorchGeo loop", "rasterio_loop": "rasterio loop"}


def compared_rows(found: Compared) -> list[Measurement]:
    """A workload's rows. Without the agreement no figure counts: they are 0 then."""
    name, agreed = found.workload.name, AGREEMENT.met(found.verdict.agreement)
    conditions = conditions_of(found)

    def median(value: Callable[[Round], float] | None) -> float | None:
        return None if value is None else spread([value(one) for one in found.rounds]).median

    def row(
        metric: str,
        unit: str,
        value: Callable[[Round], float],
        bar: Bar | None = None,
        peer: Callable[[Round], float] | None = None,
        limit: Callable[[Round], float] | None = None,
    ) -> Measurement:
        seen = spread([value(one) for one in found.rounds])
        told = {**conditions, "low": seen.low, "high": seen.high, "rounds": seen.count}
        if not agreed:
            told |= {"void": VOID, "measured": seen.median}
        figure = seen.median if agreed else 0.0
        beside = median(peer), median(limit)
        return Measurement(f"{name}: {metric}", figure, unit, bar, *beside, conditions=told)

    tuned = "rasterio_loop" if "rasterio_loop" in found.peers else None
    return [
        *verdict_rows(name, found.verdict, conditions),
        row("share of the bound", "", lambda one: one.share_of_bound, OF_BOUND),
        row("times the bound without our graph", "x", lambda one: one.times_plain_bound),
        *[row(f"times the {NAMES[peer]}", "x", times(peer), TIMES[peer]) for peer in found.peers],
        row("loader, share of decode", "", lambda one: one.loader_share, OF_DECODE),
        row(
            "chips per CPU-second",
            "1/s",
            lambda one: one.ours.per_cpu_s,
            peer=rate(tuned),
            limit=lambda one: bound_per_cpu_s(one.forward, one.decode),
        ),
        row("network alone, per CPU-second", "1/s", lambda one: one.forward.per_cpu_s),
        row("network step by step, per CPU-second", "1/s", lambda one: one.plain.per_cpu_s),
        row("decode alone, per CPU-second", "1/s", lambda one: one.decode.per_cpu_s),
        row("chips per second on the clock", "1/s", lambda one: one.ours.per_s, peer=wall(tuned)),
    ]


def gated(
    name: str, verdict: Verdict, told: dict[str, Any], rows: list[Measurement]
) -> list[Measurement]:
    """The gate, and the figures behind it; none of them where it is shut, for there are bars that
    any small number meets.
    """
    shown = rows if AGREEMENT.met(verdict.agreement) else []
    return [*verdict_rows(name, verdict, told), *shown]


def verdict_rows(name: str, verdict: Verdict, conditions: dict[str, Any]) -> list[Measurement]:
    """The gate."""
    compared = {**conditions, "compared": verdict.compared}
    whole = {
        **conditions,
        "unwritten_px": verdict.unwritten_px,
        "cog_errors": list(verdict.cog_errors),
    }
    return [
        Measurement(
            f"{name}: same class as float32", verdict.agreement, "", AGREEMENT, conditions=compared
        ),
        Measurement(
            f"{name}: valid COG, each pixel once",
            float(verdict.whole),
            "",
            Bar(1, at_most=False),
            conditions=whole,
        ),
    ]


def times(peer: str) -> Callable[[Round], float]:
    """How many times a peer ours is."""
    return lambda one: one.times(peer)


def rate(peer: str | None) -> Callable[[Round], float] | None:
    """A peer's chips per CPU-second."""
    return None if peer is None else lambda one: one.peers[peer].per_cpu_s


def wall(peer: str | None) -> Callable[[Round], float] | None:
    """A peer's chips per second on the clock."""
    return None if peer is None else lambda one: one.peers[peer].per_s


def conditions_of(found: Compared) -> dict[str, Any]:
    """What a workload's figures depend on."""
    card = found.workload.model.card
    return {
        "scene": found.workload.scene.remark,
        "chips": found.workload.chips,
        "chip_px": card.chip_px,
        "overlap_px": 2 * card.halo_px,
        "peers": found.peers,
        "load": [round(load, 1) for load in found.load],
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of what computes and reads."""
    import rasterio

    names = ("torch", "rasterio", "numpy")
    return {**{name: version(name) for name in names}, "gdal": rasterio.__gdal_version__}


def memory_rows(found: MemoryFound | None) -> list[Measurement]:
    """Memory beyond an idle engine and weights, growth, cold cache."""
    if found is None:
        return []
    told = {"scene": found.workload.scene.remark, "versions": versions()}
    return gated("large scene", found.verdict, told, figures_of_memory(found))


def figures_of_memory(found: MemoryFound) -> list[Measurement]:
    """The same without the gate."""
    base_mb = found.idle_mb + found.weights_mb
    visits = (found.first, found.warm, found.cold)
    peak_mb = max(visit.engine_peak_mb for visit in visits)
    many_mb = max(visit.engine_peak_mb for visit in found.many)
    costs = [visit.timed.cpu_s for visit in found.many]
    told = {
        "scene": found.workload.scene.remark,
        "absolute_mb": round(peak_mb),
        "subtracted": "PSS of the same engine with torch loaded and no model, and the weights file",
        "idle_mb": round(found.idle_mb),
        "weights_mb": round(found.weights_mb, 1),
        "versions": versions(),
    }
    scenes = f"{len(found.many)} scenes"
    first = found.warm
    return [
        Measurement("memory beyond idle", peak_mb - base_mb, "MB", MEMORY_MB, conditions=told),
        Measurement(
            f"memory beyond idle, {scenes}", many_mb - base_mb, "MB", MEMORY_MB, conditions=told
        ),
        Measurement(
            "memory of the process that writes the COG",
            max(visit.client_peak_mb for visit in visits),
            "MB",
            conditions=told,
        ),
        Measurement(
            f"cost of a scene among {scenes} / alone",
            growth([first.timed.cpu_s, *costs]),
            "x",
            GROWTH,
            conditions={**told, "cpu_s": [round(cost, 3) for cost in costs]},
        ),
        Measurement(
            "scene by the clock, cold / warm cache",
            found.cold.timed.wall_s / found.warm.timed.wall_s,
            "x",
            conditions={**told, "cold": asdict(found.cold.timed), "warm": asdict(first.timed)},
        ),
        Measurement("scenes per minute", 60 / found.warm.timed.wall_s, "1/min", conditions=told),
        Measurement(
            "COG written in, share of the scene's time",
            found.warm.write_s / found.warm.timed.wall_s,
            "",
            conditions=told,
        ),
    ]
