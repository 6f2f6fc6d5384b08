"""What other runs have found in tiles, copied so that a run's outputs are whole."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from assets.embeddings import copy_embeddings
from assets.plan import Plan
from assets.products import NAMES, are_there
from constellation_pipelines.domain.model import Task
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.products import raster_layouts
from constellation_pipelines.inference.work_raster import Layout, WorkRaster
from constellation_pipelines.lake.files import on_model_grid
from constellation_pipelines.store.tiles import Source


def copy_tiles(plan: Plan, sources: Iterable[Source]) -> None:
    """Copy reused tiles from the outputs they lie in into the working rasters.

    Outputs that are no longer there leave their tiles empty.
    """
    if not plan.files.work.exists() and are_there(plan.model.card, plan.files):
        return  # an earlier attempt has made the whole outputs already
    window_of = {digest: window for window, digest in plan.reused.items()}
    for source in sources:
        windows = [window_of[digest] for digest in source.digests]
        if plan.model.card.task is Task.EMBEDDING:
            path = existing(source, "embeddings")
            if path is not None:
                plan.files.work.mkdir(parents=True, exist_ok=True)
                copy_embeddings(path, source.digests, plan)
            continue
        for layout in raster_layouts(plan.model.card):
            path = existing(source, NAMES[layout.product], resampled=plan.fit.resampled)
            if path is not None:
                plan.files.work.mkdir(parents=True, exist_ok=True)
                copy_windows(path, layout, windows, plan)


def existing(source: Source, name: str, *, resampled: bool = False) -> Path | None:
    """Where a run's output of this name lies, on the grid that the model worked on."""
    stated = source.outputs.get(name)
    if stated is None:
        return None
    path = on_model_grid(Path(stated)) if resampled else Path(stated)
    return path if path.is_file() else None


def copy_windows(path: Path, layout: Layout, windows: Sequence[Window], plan: Plan) -> None:
    """Copy windows of a raster into the plan's working raster of the same product."""
    import rasterio

    with (
        WorkRaster(plan.files.work, layout, plan.fit.grid) as work,
        rasterio.open(path, driver="GTiff") as source,
    ):
        for window in windows:
            rows = (window.row_off_px, window.row_end_px)
            columns = (window.col_off_px, window.col_end_px)
            work.write(window, source.read(1, window=(rows, columns)))
