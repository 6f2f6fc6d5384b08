"""Classes of tiles that earlier runs have done, copied so that a run's raster is whole."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from assets.plan import Plan
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.work_raster import WorkRaster, layouts


def copy_classes(plan: Plan, rasters: Mapping[str, str | None]) -> None:
    """Copy reused tiles from the rasters they lie in (path by digest) into the working raster.

    A raster that is no longer there leaves its tiles empty.
    """
    if plan.files.raster.exists() and not plan.files.work.exists():
        return  # an earlier attempt has made the whole raster already
    by_raster: dict[Path, list[Window]] = defaultdict(list)
    for window, digest in plan.reused.items():
        raster = rasters.get(digest)
        if raster is not None and Path(raster).is_file():
            by_raster[Path(raster)].append(window)
    if not by_raster:
        return
    import rasterio

    (layout,) = layouts(plan.model.card)
    plan.files.work.mkdir(parents=True, exist_ok=True)
    with WorkRaster(plan.files.work, layout, plan.fit.grid) as work:
        for path, windows in by_raster.items():
            with rasterio.open(path, driver="GTiff") as source:
                for window in windows:
                    rows = (window.row_off_px, window.row_end_px)
                    columns = (window.col_off_px, window.col_end_px)
                    work.write(window, source.read(1, window=(rows, columns)))
