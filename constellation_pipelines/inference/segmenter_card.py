"""The card of a segmenter trained on weak labels: what it takes and gives, how far to trust it."""

from typing import Any

import torch  # noqa: TID253 - states the version that trained; only the training asset imports this

from constellation_pipelines.inference.eurosat_card import EXTENSIONS
from constellation_pipelines.inference.publish import weights_asset
from constellation_pipelines.inference.segmenter import MEAN, STD, Segmenter, figures
from constellation_pipelines.inference.weak_labels import (
    BRIGHT,
    CLASSES,
    INPUTS,
    UNLABELLED,
    VEGETATION_NDVI,
    WATER_NDWI,
)

NAME = "landcover-unet"
CHIP_PX = 256
HALO_PX = 16
GSD_RANGE_M = (4.0, 40.0)
# A brighter white than true colour's: above it, snow and cloud could not be told from sand.
REFLECTANCE_WHITE = 0.5
DESCRIPTIONS = {
    "Water": ("1F78B4", f"Green is far above near infrared (NDWI >= {WATER_NDWI[0]})"),
    "Vegetation": ("33A02C", f"Near infrared is far above red (NDVI >= {VEGETATION_NDVI[0]})"),
    "BareOrBuilt": ("C8A06E", f"Dry, with little green (NDVI <= {VEGETATION_NDVI[1]})"),
    "SnowOrCloud": (
        "F5F5F5",
        f"White: red, green and blue all reflect {BRIGHT[0]:.0%} or more. Snow and cloud alike",
    ),
}
GOOD_FOR = (
    "A quick first look at where water, vegetation, bare or built ground and white surfaces are, "
    "pixel by pixel, in scenes that have no near infrared.",
    "Trying out segmentation: halos, blending, class maps.",
)
NOT_FOR = (
    "Anything that needs ground truth: it was trained on, and measured against, labels computed "
    "from spectral indices, never against a map that people made.",
    "Scenes with near infrared: the indices themselves are better there, and cheaper.",
    "Land unlike that of the few scenes it was trained on; they are listed under training_data.",
    "Dark woods and green lakes, which it mistakes for each other; sand, salt and roofs as bright "
    "as 8 bits go, which it takes for snow; deserts, of which it has seen none.",
    "Clouds and snow at fine resolution: all that it saw of them had pixels of about 500 m.",
    "Telling snow from cloud, or built from bare ground: they are one class each.",
)
CAVEAT = (
    "Against weak labels, not ground truth. The regions are apart from those trained on, but of "
    "the same scenes: same day, same sensor, same landscape. Expect less elsewhere. Pixels whose "
    "indices are between two classes have no label and are not counted, which flatters."
)


def describe(
    trained: Segmenter, *, version: str, weights_bytes: int, weights_sha256: str
) -> dict[str, Any]:
    """The `model.json` document, a STAC Item with the MLM extension."""
    moment = trained.trained_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": f"{NAME}-{version}",
        "geometry": None,
        "properties": {
            "datetime": moment,
            "title": "Land cover by pixel from weak labels, four classes",
            "description": "Names water, vegetation, bare or built ground and white surfaces pixel "
            "by pixel from red, green and blue. Trained on spectral-index labels, no ground truth.",
            "license": "MIT",
            "version": version,
            "bands": [{"name": band, "eo:common_name": band} for band in INPUTS],
            "mlm:name": NAME,
            "mlm:architecture": "unet",
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:framework": "PyTorch",
            "mlm:framework_version": str(torch.__version__),
            "mlm:total_parameters": sum(p.numel() for p in trained.network.parameters()),
            "mlm:memory_size": weights_bytes,
            "mlm:pretrained": True,
            "mlm:pretrained_source": "weak labels from spectral indices",
            "mlm:input": [input_of()],
            "mlm:output": [output_of()],
            "mlm:hyperparameters": hyperparameters_of(trained),
            "constellation:architecture_options": dict(trained.options),
            "constellation:chip_px": CHIP_PX,
            "constellation:halo_px": HALO_PX,
            "constellation:gsd_min_m": GSD_RANGE_M[0],
            "constellation:gsd_max_m": GSD_RANGE_M[1],
            "constellation:reflectance_white": REFLECTANCE_WHITE,
            "constellation:good_for": list(GOOD_FOR),
            "constellation:not_for": list(NOT_FOR),
            "constellation:training_data": training_data_of(trained),
            "constellation:evaluation": evaluation_of(trained, moment),
        },
        "links": [],
        "assets": {"weights": weights_asset(weights_bytes, weights_sha256)},
    }


def input_of() -> dict[str, Any]:
    """Bands, shape, and how stored values become the network's input."""
    return {
        "name": "chips",
        "description": (
            "8-bit true colour is divided by 255. Reflectance is divided by "
            "constellation:reflectance_white and clipped to 0..1. Then value_scaling applies."
        ),
        "bands": list(INPUTS),
        "input": {
            "shape": [-1, len(INPUTS), CHIP_PX, CHIP_PX],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(MEAN, STD, strict=True)
        ],
        "resize_type": None,
        "pre_processing_function": None,
    }


def output_of() -> dict[str, Any]:
    """Scores, one per class and pixel."""
    return {
        "name": "class scores",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(CLASSES), CHIP_PX, CHIP_PX],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": value,
                "name": name,
                "description": DESCRIPTIONS[name][1],
                "color_hint": DESCRIPTIONS[name][0],
            }
            for value, name in enumerate(CLASSES)
        ],
        "post_processing_function": None,
    }


def hyperparameters_of(trained: Segmenter) -> dict[str, Any]:
    """What to set to train it again."""
    plan = trained.plan
    return {
        "steps": plan.steps,
        "seed": plan.seed,
        "batch_size": plan.batch_size,
        "chip_px": plan.chip_px,
        "optimizer": "AdamW, one-cycle schedule",
        "peak_learning_rate": plan.peak_rate,
        "weight_decay": plan.weight_decay,
        "augmentation": "eight symmetries; pixel size; brightness, contrast, saturation, band gain "
        "and offset",
    }


def training_data_of(trained: Segmenter) -> dict[str, Any]:
    """The scenes, and what the labels are."""
    return {
        "name": "Weak labels from spectral indices",
        "labels": (
            "NDWI = (green - nir) / (green + nir), NDVI = (nir - red) / (nir + red), of "
            "reflectance or of 8-bit values as they are. Near infrared makes the labels and is no "
            f"input of the network. {UNLABELLED}: no label, between two classes or without data."
        ),
        "scenes": [
            {
                "name": scene.name,
                "sha256": scene.sha256,
                "gsd_m": round(scene.gsd_m, 1),
                "labelled": round(float((scene.labels != UNLABELLED).mean()), 4),
            }
            for scene in trained.scenes
        ],
    }


def evaluation_of(trained: Segmenter, moment: str) -> dict[str, Any]:
    """How well it agrees with the weak labels and how that was found."""
    return {
        "against": "weak labels, not ground truth",
        **figures(trained.confusion),
        "confusion": trained.confusion.tolist(),
        "confusion_order": "pixels; rows: weak label, columns: predicted class, by class value",
        "regions": {
            name: figures(confusion)
            for name, confusion in trained.regions.items()
            if confusion.any()
        },
        "split": (
            "The eastern 30 % of every scene is for validation; a strip of 16 pixels beside it "
            "belongs to neither part. No step was chosen by its validation figures."
        ),
        "precision": "float32, each region in one piece, batch norms not folded",
        "measured_at": moment,
        "hardware": trained.device,
        "training_s": round(trained.elapsed_s),
        "caveat": CAVEAT,
    }
