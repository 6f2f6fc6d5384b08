"""The STAC Item of a run's outputs: what each file is, and all that it takes to make them again."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from assets.plan import Plan
from assets.products import products_of
from assets.summary import Summary
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.work_raster import NOTHING
from constellation_pipelines.lake.files import on_model_grid

CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
PARQUET = "application/vnd.apache.parquet"
OF_THE_SCENE = ("datetime", "start_datetime", "end_datetime", "gsd")


def stac_item(plan: Plan, summary: Summary) -> dict[str, Any]:
    """A STAC Item of the run's outputs: place and time are those of the scene's own Item."""
    scene = plan.scene
    known = scene.item["properties"]
    kept = {k: v for k, v in known.items() if k in OF_THE_SCENE or k.startswith("proj:")}
    extensions = [PROJECTION, PROCESSING]
    if plan.model.card.classes and plan.files.classes.exists():
        extensions.append(CLASSIFICATION)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": extensions,
        "id": str(plan.run_id),
        "geometry": scene.item["geometry"],
        "bbox": scene.item["bbox"],
        "properties": kept | provenance(plan),
        "links": [],
        "assets": assets(plan, summary),
    }


def provenance(plan: Plan) -> dict[str, Any]:
    """What decided the results, as properties: with these a reader can make them again."""
    scene, card, fit = plan.scene, plan.model.card, plan.fit
    facts = {
        "processing:software": {"constellation": version("constellation-eo")},
        "constellation:job_id": str(plan.job_id),
        "constellation:model": card.reference,
        "constellation:model_digest": plan.model.digest,
        "constellation:task": card.task.value,
        "constellation:scene": scene.key,
        "constellation:scene_digest": scene.digest,
        "constellation:bands": [band.index for band in fit.bands],
        "constellation:gsd_mismatch": fit.gsd_mismatch,
        "constellation:resampled": fit.resampled,
    }
    if fit.resampled:
        facts["constellation:model_grid"] = {
            "proj:shape": [fit.grid.height_px, fit.grid.width_px],
            "proj:transform": list(fit.grid.transform),
        }
    if plan.max_cloud_fraction is not None:
        facts["constellation:max_cloud_fraction"] = plan.max_cloud_fraction
    return facts


def assets(plan: Plan, summary: Summary) -> dict[str, Any]:
    """Every file of the run that is there, by name.

    A run that found all its tiles done by runs whose files are gone has no product of its own.
    """
    files, card = plan.files, plan.model.card
    described = {
        "classes": raster("Class of each pixel", class_band(card)),
        "scores": raster("Probability of the class", SCORE_BAND),
        "values": raster("Value of each pixel", value_band(card, summary)),
        "embeddings": table("Embedding of each chip"),
        "vectors": table("Polygons of classes"),
    }
    found: dict[str, Any] = {}
    for name, path in products_of(card, files).items():
        if path.exists():
            found[name] = {"href": href(plan, path), **described[name]}
        own = on_model_grid(path)
        if own.exists():
            about = described[name] | {"title": f"{described[name]['title']}, on the model's grid"}
            found[f"{name}-model-grid"] = {"href": href(plan, own), **about, "roles": ["source"]}
    found["predictions"] = {"href": href(plan, files.predictions), **table("Tiles of the run")}
    if files.preview.exists():
        picture = {"type": "image/png", "roles": ["overview"], "title": "Preview"}
        found["preview"] = {"href": href(plan, files.preview), **picture}
    return found


def href(plan: Plan, path: Path) -> str:
    """A path relative to the Item."""
    relative = os.path.relpath(path, plan.files.item.parent)
    return relative if relative.startswith("..") else f"./{relative}"


def raster(title: str, band: dict[str, Any]) -> dict[str, Any]:
    """An asset that is a raster of one band."""
    return {"title": title, "type": COG, "roles": ["data"], "bands": [band]}


def table(title: str) -> dict[str, Any]:
    """An asset that is a GeoParquet file."""
    return {"title": title, "type": PARQUET, "roles": ["data"]}


SCORE_BAND = {"name": "score", "data_type": "uint8", "nodata": NOTHING, "unit": "%"}


def class_band(card: ModelCard) -> dict[str, Any]:
    """The band of a class raster."""
    classes = [{"value": c.value, "name": c.name, "color_hint": c.color[1:]} for c in card.classes]
    common = {"name": "class", "data_type": "uint8", "nodata": NOTHING}
    return {**common, "classification:classes": classes}


def value_band(card: ModelCard, summary: Summary) -> dict[str, Any]:
    """The band of a regression's raster; its statistics are of the tiles this run computed."""
    band: dict[str, Any] = {"name": "value", "data_type": "float32", "nodata": "nan"}
    if card.unit is not None:
        band["unit"] = card.unit
    if (found := summary.statistics) is not None:
        band["statistics"] = {
            "minimum": found["min"],
            "maximum": found["max"],
            "mean": found["mean"],
            "stddev": found["std"],
        }
    return band
