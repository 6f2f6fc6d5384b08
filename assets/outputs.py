"""What a prediction run leaves behind: rasters, tables, preview, STAC Item."""

import json
from typing import Any

from assets.embeddings import write_embeddings
from assets.item import stac_item
from assets.plan import Plan
from assets.preview import write_preview
from assets.products import NAMES, products_of
from assets.summary import Summary
from assets.vectors import write_vectors
from constellation_pipelines.domain.errors import RunFailed
from constellation_pipelines.domain.model import Task
from constellation_pipelines.inference.products import raster_layouts, write_raster
from constellation_pipelines.lake import predictions
from constellation_pipelines.lake.files import clear_drafts, on_model_grid, whole_file


def write_outputs(plan: Plan, tiles: list[dict[str, Any]], summary: Summary) -> None:
    """Write the run's files, each whole or not at all. Safe to call again.

    Raises RunFailed where the disk does not take them; what was computed stays for another attempt.
    """
    clear_drafts(plan.files)
    common = {
        "run_id": str(plan.run_id),
        "job_id": str(plan.job_id),
        "scene": plan.scene.key,
        "model": plan.model.card.reference,
    }
    try:
        predictions.write(plan.files.predictions, tiles, common)
        if plan.files.work.exists():
            write_products(plan, common)
        with whole_file(plan.files.item) as partial:
            partial.write_text(json.dumps(stac_item(plan, summary), indent=1, allow_nan=False))
    except OSError as error:
        raise RunFailed(
            f"the outputs cannot be written: {error.strerror or error}. Make room in the lake, "
            "then retry the job: the tiles need not be computed again"
        ) from error


def write_products(plan: Plan, common: dict[str, str]) -> None:
    """Write what was found, from the working rasters."""
    card, files = plan.model.card, plan.files
    tags = {**common, "gsd_mismatch": str(plan.fit.gsd_mismatch).lower()}
    worked, scene = plan.fit.grid, plan.scene.grid
    for layout in raster_layouts(card):
        path = products_of(card, files)[NAMES[layout.product]]
        if plan.fit.resampled:  # other runs copy tiles from what was computed, pixel by pixel
            own = on_model_grid(path)
            write_raster(files.work, layout, (worked, worked), card, own, tags)
        write_raster(files.work, layout, (worked, scene), card, path, tags)
    if card.task is Task.EMBEDDING:
        write_embeddings(plan, common)
    if card.vectors is not None:
        write_vectors(files.classes, scene, card, files.vectors, common)
    write_preview(plan)
