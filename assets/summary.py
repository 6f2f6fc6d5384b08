"""Figures over the tiles of a run."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from assets.plan import Plan
from constellation_pipelines.domain.states import TileState


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures over the tiles a run wrote. `class_counts` are chips by class name, pixels where the
    model is dense; `statistics` are those of all values of a regression, None for other models.
    """

    rows: int
    completed: int
    failed: int
    skipped: int
    area_km2: float
    class_counts: dict[str, int]
    statistics: dict[str, float] | None
    errors: dict[str, int]
    infer_s: float
    read_s: float


def summarise(plan: Plan, tiles: list[dict[str, Any]]) -> Summary:
    """Add up a run's tiles."""
    names = {model_class.value: model_class.name for model_class in plan.model.card.classes}
    counts: Counter[str] = Counter()
    for tile in tiles:
        for value, found in tile["class_counts"].items():
            counts[names[int(value)]] += found
    states = Counter(tile["state"] for tile in tiles)
    done = [tile for tile in tiles if tile["state"] == TileState.COMPLETED]
    return Summary(
        rows=len(tiles),
        completed=states[TileState.COMPLETED],
        failed=states[TileState.FAILED],
        skipped=states[TileState.SKIPPED],
        area_km2=sum(tile["area_km2"] for tile in done),
        class_counts=dict(counts.most_common()),
        statistics=pooled(done),
        errors=dict(Counter(tile["error"] for tile in tiles if tile["error"])),
        infer_s=sum(tile["infer_ms"] for tile in tiles) / 1000,
        read_s=sum(tile["read_ms"] for tile in tiles) / 1000,
    )


def pooled(tiles: list[dict[str, Any]]) -> dict[str, float] | None:
    """Min, max, mean and std over the valid pixels of all tiles; None where no tile has any."""
    parts = [
        (tile["valid_fraction"] * tile["height_px"] * tile["width_px"], tile["statistics"])
        for tile in tiles
        if tile["statistics"]
    ]
    count = math.fsum(pixels for pixels, _ in parts)
    if not count:
        return None
    mean = math.fsum(pixels * one["mean"] for pixels, one in parts) / count
    spread = (pixels * (one["std"] ** 2 + (one["mean"] - mean) ** 2) for pixels, one in parts)
    return {
        "min": min(one["min"] for _, one in parts),
        "max": max(one["max"] for _, one in parts),
        "mean": mean,
        "std": math.sqrt(math.fsum(spread) / count),
    }
