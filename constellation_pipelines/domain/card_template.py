"""Writing a card: the STAC Item with the MLM extension that `parse_card` reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from constellation_pipelines.domain.card import CLASSIFIES, MULTIHASH_SHA256
from constellation_pipelines.domain.model import InputUnit, Task, WeightsFormat

EXTENSIONS = [
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/version/v1.2.0/schema.json",
]
MEDIA = {
    WeightsFormat.SAFETENSORS: "application/octet-stream; application=safetensors",
    WeightsFormat.EXPORTED: "application/zip; application=pytorch; archive=pt2",
    WeightsFormat.ONNX: "application/octet-stream; application=onnx",
}
ARTIFACTS = {
    WeightsFormat.SAFETENSORS: "safetensors.torch.save_file",
    WeightsFormat.EXPORTED: "torch.export.save",
    WeightsFormat.ONNX: "onnx",
}
# Easy to tell apart, in this order, on a light map and on a dark one.
COLOURS = (
    "1F78B4 33A02C E31A1C FF7F00 6A3D9A B15928 A6CEE3 B2DF8A FB9A99 FDBF6F CAB2D6 FFFF99"
).split()


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person says of a model. `outputs` are classes' names, or a count where there are none.

    `mean` and `std` have one number per band, or one for all.
    """

    name: str
    version: str
    task: Task
    bands: Sequence[str]
    outputs: Sequence[str] | int
    chip_px: int
    halo_px: int
    gsd_m: tuple[float, float]
    mean: Sequence[float]
    std: Sequence[float]
    input_unit: InputUnit
    reflectance_white: float
    architecture: str | None
    options: Mapping[str, int]  # of the architecture, beside bands and classes
    weights_file: str
    weights_format: WeightsFormat
    weights_sha256: str
    weights_bytes: int


def document_of(draft: Draft, now: datetime) -> dict[str, Any]:
    """The card's document. `parse_card` says what is wrong with it, if anything is."""
    count = draft.outputs if isinstance(draft.outputs, int) else len(draft.outputs)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
        "id": f"{draft.name}-{draft.version}",
        "geometry": None,
        "properties": properties_of(draft, count, now),
        "links": [],
        "assets": {"weights": weights_of(draft)},
    }


def properties_of(draft: Draft, count: int, now: datetime) -> dict[str, Any]:
    """The Item's properties."""
    properties = {
        "datetime": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "title": draft.name,
        "description": "Say here what the model is for, and what it is not for.",
        "version": draft.version,
        "bands": [{"name": band, "eo:common_name": band} for band in draft.bands],
        "mlm:name": draft.name,
        "mlm:architecture": draft.architecture or "see the weights",
        "mlm:tasks": [draft.task.value],
        "mlm:framework": "ONNX" if draft.weights_format is WeightsFormat.ONNX else "PyTorch",
        "mlm:input": [input_of(draft)],
        "mlm:output": [output_of(draft, count)],
        "constellation:input_unit": draft.input_unit.value,
        "constellation:chip_px": draft.chip_px,
        "constellation:halo_px": draft.halo_px,
        "constellation:gsd_min_m": draft.gsd_m[0],
        "constellation:gsd_max_m": draft.gsd_m[1],
    }
    if draft.input_unit is InputUnit.DISPLAY:
        properties["constellation:reflectance_white"] = draft.reflectance_white
    if draft.weights_format is WeightsFormat.SAFETENSORS:
        classes = 0 if draft.task is Task.EMBEDDING else count  # 0: the network's own features
        options = {"bands": len(draft.bands), "classes": classes, **draft.options}
        properties["constellation:architecture_options"] = options
    return properties


def input_of(draft: Draft) -> dict[str, Any]:
    """MLM's model input: chips."""
    scalings = [
        {"type": "z-score", "mean": mean, "stddev": std}
        for mean, std in zip(draft.mean, draft.std, strict=True)
    ]
    return {
        "name": "chips",
        "bands": list(draft.bands),
        "input": {
            "shape": [-1, len(draft.bands), draft.chip_px, draft.chip_px],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": scalings,
        "resize_type": None,
        "pre_processing_function": None,
    }


def output_of(draft: Draft, count: int) -> dict[str, Any]:
    """MLM's model output, with the classes where there are any."""
    dense = draft.task in (Task.SEGMENTATION, Task.REGRESSION)
    second = "class" if draft.task in CLASSIFIES else "channel"
    output: dict[str, Any] = {
        "name": draft.task.value,
        "tasks": [draft.task.value],
        "result": {
            "shape": [-1, count, *([draft.chip_px] * 2 if dense else [])],
            "dim_order": ["batch", second, *(["height", "width"] if dense else [])],
            "data_type": "float32",
        },
        "post_processing_function": None,
    }
    if not isinstance(draft.outputs, int):
        output["classification:classes"] = [
            {"value": value, "name": name, "color_hint": COLOURS[value % len(COLOURS)]}
            for value, name in enumerate(draft.outputs)
        ]
    return output


def weights_of(draft: Draft) -> dict[str, Any]:
    """The Item's asset of weights."""
    return {
        "href": draft.weights_file,
        "title": "Weights",
        "type": MEDIA[draft.weights_format],
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": ARTIFACTS[draft.weights_format],
        "file:size": draft.weights_bytes,
        "file:checksum": f"{MULTIHASH_SHA256}{draft.weights_sha256}",
    }
