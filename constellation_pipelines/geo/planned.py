"""Which tiles a run has: said once, for whoever quotes, stages or runs them."""

import shapely

from constellation_pipelines.domain.fit import Fit, treatment
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.domain.tile import tile_digest
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.tiling import tile_windows, windows_touching


def planned_tiles(
    scene: Scene,
    model: Model,
    fitted: Fit,
    *,
    area: shapely.MultiPolygon | None,
    max_cloud_fraction: float | None,
    account: str,
) -> dict[Window, str]:
    """The scene's tiles that share ground with the area (`tiling.area_of`), row-major, with the
    digests of their results, which are the account's own. All without one, none where it misses.
    """
    every = tile_windows(fitted.grid, model.card.tile_unit_px)
    how = treatment(fitted, max_cloud_fraction)
    return {
        window: tile_digest(scene.digest, model.digest, window, account, how)
        for window in windows_touching(fitted.grid, every, area)
    }
