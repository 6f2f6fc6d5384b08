"""Files of runs for tests of analytics, and the same count in plain Python."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import shapely

from constellation_pipelines.lake import predictions

Tile = dict[str, Any]
TILE_DEG = 0.1
START = datetime(2026, 3, 1, tzinfo=UTC)


def tile(
    column: int,
    counts: dict[int, int],
    *,
    at: datetime = START,
    west: float = 15.0,
    **changes: Any,
) -> Tile:
    """A tile of 512 px and 25 km2, `column` tiles east of `west` on the row from 45 to 45.1."""
    left = west + TILE_DEG * column
    values: Tile = {
        "digest": f"{column}",
        "row_off_px": 0,
        "col_off_px": 512 * column,
        "height_px": 512,
        "width_px": 512,
        "state": "COMPLETED",
        "footprint": footprint(shapely.box(left, 45, left + TILE_DEG, 45.1)),
        "area_km2": 25.0,
        "class_counts": {str(value): count for value, count in counts.items()},
        "top_class": max(counts, key=lambda one: counts[one]) if counts else None,
        "confidence": 0.8,
        "valid_fraction": 1.0,
        "cloud_fraction": None,
        "statistics": None,
        "gsd_mismatch": False,
        "read_ms": 1.0,
        "infer_ms": 2.0,
        "error": None,
        "created_at": at,
    }
    return values | changes


def footprint(*parts: shapely.Polygon) -> bytes:
    return bytes(shapely.to_wkb(shapely.MultiPolygon(list(parts))))


def write(path: Path, run: UUID, tiles: list[Tile], scene: str = "coast") -> None:
    """The file of a run, by the project's own writer."""
    common = {"run_id": str(run), "job_id": str(run), "scene": scene, "model": "landcover@1"}
    predictions.write(path, tiles, common)


def any_tiles(random: Random, columns: Iterable[int]) -> list[Tile]:
    """Tiles of which every member that matters may be anything it can be."""
    return [any_tile(random, column) for column in columns]


def any_tile(random: Random, column: int) -> Tile:
    state = random.choices(("COMPLETED", "FAILED", "SKIPPED"), (8, 1, 1))[0]
    done = state == "COMPLETED"
    values = random.sample((0, 1, 2, 200), random.randint(0, 3)) if done else []
    counts = {value: random.randint(1, 40) for value in values}
    return tile(
        column,
        counts,
        at=START + timedelta(days=random.randint(0, 70), microseconds=random.randint(0, 10**10)),
        state=state,
        error="broken" if state == "FAILED" else None,
        area_km2=random.uniform(1, 30),
        valid_fraction=random.uniform(0.1, 1.0),
        confidence=random.choice((None, random.uniform(0.1, 1.0))) if counts else None,
    )


# ---- the count by hand ----

Figures = tuple[int, int, float, float | None]  # tiles, units, km2, confidence


def recount(
    files: dict[str, list[list[Tile]]],
    *,
    dense: bool = False,
    by: str = "all",
    first: date = date.min,
    last: date = date.max,
) -> dict[tuple[date | None, int | None], Figures]:
    """Tiles, units, km2 and confidence by period and class, of the files of each scene."""
    newest: dict[tuple[Any, ...], Tile] = {}
    for scene, listed in files.items():
        for one in (one for tiles in listed for one in tiles if one["state"] == "COMPLETED"):
            place = (scene, one["row_off_px"], one["col_off_px"])
            if place not in newest or newest[place]["created_at"] < one["created_at"]:
                newest[place] = one
    sums: dict[tuple[date | None, int | None], list[tuple[int, float, float | None]]]
    sums = defaultdict(list)
    for one in newest.values():
        day = one["created_at"].date()
        if not first <= day <= last:
            continue
        period = {"all": None, "day": day, "month": day.replace(day=1)}[by]
        counts = {int(value): count for value, count in one["class_counts"].items()}
        whole = sum(counts.values())
        km2 = {
            value: one["area_km2"]
            * (count / (512 * 512) if dense else one["valid_fraction"] * count / whole)
            for value, count in counts.items()
        }
        sums[period, None].append((whole, sum(km2.values()), one["confidence"]))
        for value, count in counts.items():
            sums[period, value].append((count, km2[value], one["confidence"]))
    return {key: figures(parts) for key, parts in sums.items()}


def figures(parts: list[tuple[int, float, float | None]]) -> Figures:
    told = [(units, confidence) for units, _, confidence in parts if confidence is not None]
    weight = sum(units for units, _ in told)
    mean = sum(units * confidence for units, confidence in told) / weight if weight else None
    return len(parts), sum(one[0] for one in parts), sum(one[1] for one in parts), mean
