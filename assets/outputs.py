"""What a prediction run leaves behind: class raster, GeoParquet, STAC Item, preview, figures."""

import base64
import json
import os
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

from assets.plan import Plan
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.lake import predictions
from constellation_pipelines.lake.files import clear_drafts, whole_file

CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures over the tiles a run wrote. `class_counts` are chips by class name."""

    rows: int
    completed: int
    failed: int
    area_km2: float
    class_counts: dict[str, int]
    errors: dict[str, int]
    infer_s: float
    read_s: float


def summarise(plan: Plan, tiles: list[dict[str, Any]]) -> Summary:
    """Add up a run's tiles."""
    names = {model_class.value: model_class.name for model_class in plan.model.card.classes}
    counts: Counter[str] = Counter()
    for tile in tiles:
        for value, chips in tile["class_counts"].items():
            counts[names[int(value)]] += chips
    done = [tile for tile in tiles if tile["state"] == TileState.COMPLETED]
    return Summary(
        rows=len(tiles),
        completed=len(done),
        failed=len(tiles) - len(done),
        area_km2=sum(tile["area_km2"] for tile in done),
        class_counts=dict(counts.most_common()),
        errors=dict(Counter(tile["error"] for tile in tiles if tile["error"])),
        infer_s=sum(tile["infer_ms"] for tile in tiles) / 1000,
        read_s=sum(tile["read_ms"] for tile in tiles) / 1000,
    )


def write_outputs(plan: Plan, tiles: list[dict[str, Any]]) -> None:
    """Write the run's files, each whole or not at all. Safe to call again."""
    from constellation_pipelines.inference.class_raster import write_cog

    clear_drafts(plan.files)
    card, scene = plan.model.card, plan.scene
    common = {
        "run_id": str(plan.run_id),
        "job_id": str(plan.job_id),
        "scene": scene.key,
        "model": card.reference,
    }
    predictions.write(plan.files.predictions, tiles, common)
    tags = {**common, "gsd_mismatch": str(plan.fit.gsd_mismatch).lower()}
    if plan.files.work.exists():
        write_cog(plan.files.work, plan.fit.grid, card, plan.files.raster, tags)
    with whole_file(plan.files.item) as partial:
        partial.write_text(json.dumps(stac_item(plan), indent=1))


def stac_item(plan: Plan) -> dict[str, Any]:
    """A STAC Item of the run's outputs: place and time are those of the scene's own Item."""
    scene, card = plan.scene, plan.model.card
    times = ("datetime", "start_datetime", "end_datetime", "proj:code", "gsd")
    properties = {k: v for k, v in scene.item["properties"].items() if k in times}
    properties |= {
        "constellation:job_id": str(plan.job_id),
        "constellation:model": card.reference,
        "constellation:model_digest": plan.model.digest,
        "constellation:scene": scene.key,
        "constellation:scene_digest": scene.digest,
        "constellation:gsd_mismatch": plan.fit.gsd_mismatch,
    }
    classes = [{"value": c.value, "name": c.name, "color_hint": c.color[1:]} for c in card.classes]
    raster = {
        "href": f"./{plan.files.raster.name}",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "bands": [{"name": "class", "classification:classes": classes}],
    }
    table = {
        "href": os.path.relpath(plan.files.predictions, plan.files.item.parent),
        "type": "application/vnd.apache.parquet",
        "roles": ["data"],
    }
    # A run that found all its tiles done has no raster of its own.
    assets = {"classes": raster} if plan.files.raster.exists() else {}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [CLASSIFICATION, PROJECTION],
        "id": str(plan.run_id),
        "geometry": scene.item["geometry"],
        "bbox": scene.item["bbox"],
        "properties": properties,
        "links": [],
        "assets": {**assets, "predictions": table},
    }


def preview(plan: Plan, longest_px: int = 512) -> bytes | None:
    """The class raster as a small PNG in its own colours; None where no raster was written."""
    if not plan.files.raster.exists():
        return None
    import numpy
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    with rasterio.open(plan.files.raster) as source:
        shrink = max(1.0, max(source.shape) / longest_px)
        shape = tuple(max(1, round(side / shrink)) for side in source.shape)
        classes = source.read(1, out_shape=shape)
        palette = numpy.zeros((256, 4), numpy.uint8)
        for value, color in source.colormap(1).items():
            palette[value] = color
    palette[255, 3] = 0
    pixels = numpy.moveaxis(palette[classes], -1, 0)
    profile = {"driver": "PNG", "width": shape[1], "height": shape[0], "count": 4}
    with MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place on Earth
        with memory.open(dtype="uint8", **profile) as png:
            png.write(pixels)
        return bytes(memory.read())


def preview_markdown(png: bytes) -> str:
    """A PNG that Dagster's UI shows in place."""
    return f"![class map](data:image/png;base64,{base64.b64encode(png).decode()})"
