"""The grid that a scene is read on where its own pixels are too large or too small for a model."""

import math
from dataclasses import replace

from constellation_pipelines.domain.errors import SceneUnfit
from constellation_pipelines.domain.scene import Grid, Scene

BLOCK_PX = 512
MOST_FINER = 16  # more new pixels across an old one invent what nobody saw
MOST_COARSER = 64  # more old pixels across a new one cost more to read than they tell
MAX_SIDE_PX = 200_000
MAX_PIXELS = 20_000_000_000
WHOLE = 1e-6  # a hair above a whole number of pixels is that number


def resampled_grid(scene: Scene, gsd_m: float) -> Grid:
    """A grid of the scene's CRS and extent with pixels of `gsd_m` on the ground, square there.

    Sides are rounded up to whole pixels, so the pixels are at most as large as asked for; they may
    be smaller by less than one part in the grid's width or height. Raises SceneUnfit when they are
    too far from the scene's own, or too many.
    """
    grid = scene.grid
    width_m = scene.gsd_m * math.sqrt(grid.aspect)
    height_m = scene.gsd_m / math.sqrt(grid.aspect)
    _check_factors(scene, gsd_m, width_m, height_m)
    width_px = max(1, math.ceil(grid.width_px * width_m / gsd_m - WHOLE))
    height_px = max(1, math.ceil(grid.height_px * height_m / gsd_m - WHOLE))
    if max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_PIXELS:
        raise SceneUnfit(
            f"scene {scene.key} would have {width_px} x {height_px} px at {gsd_m:g} m; the limits "
            f"are {MAX_SIDE_PX} px a side and {MAX_PIXELS // 10**9} billion px: cut it into scenes",
            field="scenes",
        )
    across, down = grid.width_px / width_px, grid.height_px / height_px
    a, b, c, d, e, f = grid.transform
    return replace(
        grid,
        transform=(a * across, b * down, c, d * across, e * down, f),
        width_px=width_px,
        height_px=height_px,
        block_width_px=BLOCK_PX,
        block_height_px=BLOCK_PX,
        aspect=grid.aspect * across / down,
    )


def _check_factors(scene: Scene, gsd_m: float, width_m: float, height_m: float) -> None:
    if max(width_m, height_m) > MOST_FINER * gsd_m or min(width_m, height_m) * MOST_COARSER < gsd_m:
        raise SceneUnfit(
            f"scene {scene.key} has a pixel size of {scene.gsd_m:.3g} m, too far from {gsd_m:g} m "
            f"to resample: pixels may be {MOST_FINER} times as large, or {MOST_COARSER} times as "
            "small",
            field="scenes",
        )
