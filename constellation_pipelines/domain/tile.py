"""A tile: the unit of progress, retry and coverage."""

import hashlib
import json
import math
from dataclasses import dataclass, field

from constellation_pipelines.domain.account import DAGSTER_UI, LOCAL
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.window import Window


@dataclass(frozen=True, slots=True)
class TileResult:
    """What the engine found in one tile.

    `class_counts` counts chips by class value, pixels where the model answers per pixel.
    `confidence` is the mean top-1 probability over the chips, or over a fixed sample of the scene's
    pixels; None when the tile has none of these. `statistics` of a regression are min, max, mean
    and std of its valid pixels. `valid_fraction` is the share of the tile's pixels that hold data,
    `cloud_fraction` that of those that are clouded, None without a mask. A failed tile has `error`
    and neither counts nor confidence; a skipped one neither of all.
    """

    window: Window
    state: TileState
    class_counts: dict[int, int] = field(default_factory=dict)
    confidence: float | None = None
    valid_fraction: float = 0.0
    read_ms: float = 0.0
    infer_ms: float = 0.0
    error: str | None = None
    statistics: dict[str, float] | None = None
    cloud_fraction: float | None = None


def sound(result: TileResult) -> TileResult:
    """The result, or a failed one where a figure of it is NaN or infinite: no table takes those."""
    figures = [*(result.statistics or {}).values()]
    figures += [one for one in (result.confidence, result.cloud_fraction) if one is not None]
    if all(map(math.isfinite, figures)):
        return result
    return TileResult(
        result.window,
        TileState.FAILED,
        read_ms=result.read_ms,
        infer_ms=result.infer_ms,
        error="the model's answer holds numbers that are NaN or infinite",
    )


def tile_digest(
    scene_digest: str,
    model_digest: str,
    window: Window,
    account: str,
    treatment: tuple[object, ...] = (),
) -> str:
    """Name a tile's result: equal inputs give equal digests, so no valid tile runs twice.

    An account's results are its own: it neither builds on another's nor writes over them. What is
    launched in Dagster's pages counts as the machine's own account, whose digests name none.
    `treatment` is whatever else decides the result, such as a resampled pixel size; () for none.
    """
    parts: list[object] = [
        scene_digest,
        model_digest,
        [window.row_off_px, window.col_off_px, window.height_px, window.width_px],
        *treatment,
    ]
    if account not in (LOCAL, DAGSTER_UI):
        parts.append(account)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
