"""The card of a segmenter trained on weak labels: what it takes and gives, how far to trust it."""

from typing import Any

from constellation_pipelines.domain.card_template import Draft, document_of
from constellation_pipelines.domain.model import InputUnit, Task, WeightsFormat
from constellation_pipelines.inference.publish import (
    WEIGHTS_FILE,
    facts_of,
    name_classes,
    own_options,
)
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


INPUT = (
    "8-bit true colour is divided by 255. Reflectance is divided by "
    "constellation:reflectance_white and clipped to 0..1. Then value_scaling applies."
)


def describe(
    trained: Segmenter, *, version: str, weights_bytes: int, weights_sha256: str
) -> dict[str, Any]:
    """The `model.json` document, a STAC Item with the MLM extension."""
    draft = Draft(
        name=NAME,
        version=version,
        task=Task.SEGMENTATION,
        bands=INPUTS,
        outputs=CLASSES,
        chip_px=CHIP_PX,
        halo_px=HALO_PX,
        gsd_m=GSD_RANGE_M,
        mean=MEAN,
        std=STD,
        input_unit=InputUnit.DISPLAY,
        reflectance_white=REFLECTANCE_WHITE,
        architecture="unet",
        options=own_options(trained.options),
        weights_file=WEIGHTS_FILE,
        weights_format=WeightsFormat.SAFETENSORS,
        weights_sha256=weights_sha256,
        weights_bytes=weights_bytes,
    )
    document = document_of(draft, trained.trained_at)
    name_classes(document, DESCRIPTIONS)
    document["properties"]["mlm:input"][0]["description"] = INPUT
    document["properties"] |= facts_of(trained.network, weights_bytes) | {
        "title": "Land cover by pixel from weak labels, four classes",
        "description": "Names water, vegetation, bare or built ground and white surfaces pixel "
        "by pixel from red, green and blue. Trained on spectral-index labels, no ground truth.",
        "mlm:pretrained_source": "weak labels from spectral indices",
        "mlm:hyperparameters": hyperparameters_of(trained),
        "constellation:good_for": list(GOOD_FOR),
        "constellation:not_for": list(NOT_FOR),
        "constellation:training_data": training_data_of(trained),
        "constellation:evaluation": evaluation_of(trained, document["properties"]["datetime"]),
    }
    return document


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
