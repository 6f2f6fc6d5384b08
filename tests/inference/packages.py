"""Small model packages, made here: cards and weights that agree."""

import hashlib
from pathlib import Path
from typing import Any

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.package import CARD_FILE

COMMON = ("red", "green", "blue", "nir", "swir16", "swir22", "coastal", "rededge")


def document_of(
    *,
    name: str = "small",
    version: str = "1",
    task: str = "scene-classification",
    bands: int = 3,
    chip_px: int = 16,
    classes: int = 4,
    halo_px: int = 0,
    weights: str = "model.pt2",
    sha256: str = "0" * 64,
    **properties: Any,
) -> dict[str, Any]:
    """A card's document. `classes` are the numbers per output, whatever the task."""
    dense = task in ("semantic-segmentation", "regression")
    named = task in ("scene-classification", "semantic-segmentation")
    shape = [-1, classes, *([chip_px, chip_px] if dense else [])]
    output: dict[str, Any] = {"result": {"shape": shape, "data_type": "float32"}}
    if named:
        output["classification:classes"] = [
            {"value": value, "name": f"class {value}", "color_hint": f"{value:02X}8040"}
            for value in range(classes)
        ]
    return {
        "type": "Feature",
        "properties": {
            "mlm:name": name,
            "version": version,
            "mlm:architecture": "resnet18",
            "mlm:tasks": [task],
            "mlm:input": [
                {
                    "bands": list(COMMON[:bands]),
                    "input": {"shape": [-1, bands, chip_px, chip_px]},
                    "value_scaling": [{"type": "z-score", "mean": 0.4, "stddev": 0.2}] * bands,
                }
            ],
            "mlm:output": [output],
            "constellation:architecture_options": {"bands": bands, "classes": classes},
            "constellation:chip_px": chip_px,
            "constellation:halo_px": halo_px,
            "constellation:gsd_min_m": 0.1,
            "constellation:gsd_max_m": 1000,
            "constellation:reflectance_white": 0.3,
            **properties,
        },
        "assets": {"weights": {"href": weights, "file:checksum": f"1220{sha256}"}},
    }


def card_of(**options: Any) -> ModelCard:
    """The card of such a document."""
    return parse_card(document_of(**options))


def write_card(folder: Path, **options: Any) -> Path:
    """Put a card beside the weights that lie in the folder under the name in `weights`."""
    import json

    content = (folder / options["weights"]).read_bytes()
    document = document_of(sha256=hashlib.sha256(content).hexdigest(), **options)
    (folder / CARD_FILE).write_text(json.dumps(document))
    return folder
