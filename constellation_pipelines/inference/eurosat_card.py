"""The card of a network trained on EuroSAT: what it takes, what it gives, how far to trust it."""

from typing import Any

from constellation_pipelines.domain.card_template import Draft, document_of
from constellation_pipelines.domain.model import InputUnit, Task, WeightsFormat
from constellation_pipelines.inference.eurosat import BANDS, CHIP_PX, CLASSES
from constellation_pipelines.inference.publish import (
    WEIGHTS_FILE,
    facts_of,
    name_classes,
    own_options,
)
from constellation_pipelines.inference.train import Trained

NAME = "eurosat-landcover"
TITLE = "EuroSAT land cover, ten classes"
GSD_RANGE_M = (5.0, 20.0)
# EuroSAT's authors mapped Level-1C values 0 to 2750, that is reflectance 0 to 0.275, linearly to
# 8 bits, and clipped the rest. Reflectance of other sources is brought to 0..1 in the same way.
REFLECTANCE_WHITE = 0.275
DESCRIPTIONS = {
    "AnnualCrop": ("e6c24a", "Fields sown and harvested within a year"),
    "Forest": ("1b7837", "Closed tree cover"),
    "HerbaceousVegetation": ("a6d96a", "Natural grass, heath and shrub"),
    "Highway": ("7f7f7f", "A large road through other cover"),
    "Industrial": ("b15aa8", "Industrial and commercial buildings"),
    "Pasture": ("d9ef8b", "Grazed or mown grassland"),
    "PermanentCrop": ("e08214", "Orchards, vineyards, olive groves"),
    "Residential": ("d73027", "Housing"),
    "River": ("4393c3", "A river or canal through other cover"),
    "SeaLake": ("08519c", "Open water"),
}
GOOD_FOR = (
    "Naming the main land cover of 64 x 64 pixel chips (640 m at 10 m) of clear European "
    "daylight scenes from Sentinel-2 or similar sensors with red, green and blue at 5 to 20 m, "
    "as 8-bit true colour stretched like the training data or as reflectance.",
)
NOT_FOR = (
    "Boundaries: one class is given to a whole chip, so features smaller than a chip are lost.",
    "Cover it was never shown: ice, snow, desert, bare rock, wetland, burnt ground, cloud, shadow. "
    "It names one of its ten classes all the same, sometimes with high confidence.",
    "Places far from Europe, or pixel sizes outside the range: never measured.",
    "8-bit images stretched for looks, scene by scene: colours then mean something else.",
    "Areas, statistics or decisions without a check on local reference data.",
)
CAVEAT = (
    "Optimistic for new scenes: chips of one scene, neighbours among them, stand on both sides of "
    "the split, and every chip was picked by hand to show one clear class."
)

OPTIMISERS = {"sgd": "SGD, Nesterov momentum {}", "adamw": "AdamW"}
INPUT = (
    "8-bit true colour is divided by 255. Reflectance is divided by "
    "constellation:reflectance_white and clipped to 0..1: the training chips are a linear "
    "stretch of top-of-atmosphere reflectance 0 to 0.275 (Sentinel-2 Level-1C values 0 to "
    "2750). Then value_scaling applies, band by band."
)


def describe(
    trained: Trained,
    *,
    version: str,
    weights_bytes: int,
    weights_sha256: str,
    data_sha256: str,
    name: str = NAME,
    title: str = TITLE,
    weights_file: str = WEIGHTS_FILE,
    weights_format: WeightsFormat = WeightsFormat.SAFETENSORS,
) -> dict[str, Any]:
    """The `model.json` document, a STAC Item with the MLM extension."""
    draft = Draft(
        name=name,
        version=version,
        task=Task.SCENE_CLASSIFICATION,
        bands=BANDS,
        outputs=CLASSES,
        chip_px=CHIP_PX,
        halo_px=0,
        gsd_m=GSD_RANGE_M,
        mean=trained.mean,
        std=trained.std,
        input_unit=InputUnit.DISPLAY,
        reflectance_white=REFLECTANCE_WHITE,
        architecture=trained.plan.architecture,
        options=own_options(trained.options),
        weights_file=weights_file,
        weights_format=weights_format,
        weights_sha256=weights_sha256,
        weights_bytes=weights_bytes,
    )
    document = document_of(draft, trained.trained_at)
    name_classes(document, DESCRIPTIONS)
    document["properties"]["mlm:input"][0]["description"] = INPUT
    document["properties"] |= facts_of(trained.network, weights_bytes) | {
        "title": title,
        "description": "Names the land cover of a chip from its red, green and blue bands.",
        "mlm:pretrained_source": "EuroSAT RGB",
        "mlm:hyperparameters": hyperparameters_of(trained),
        "constellation:good_for": list(GOOD_FOR),
        "constellation:not_for": list(NOT_FOR),
        "constellation:training_data": {
            "name": "EuroSAT RGB",
            "sha256": data_sha256,
            "chips": trained.training_chips + trained.validation_chips,
            "license": "MIT; contains Copernicus Sentinel data",
            "doi": "10.1109/JSTARS.2019.2918242",
        },
        "constellation:evaluation": evaluation_of(trained, document["properties"]["datetime"]),
    }
    return document


def hyperparameters_of(trained: Trained) -> dict[str, Any]:
    """What to set to train it again."""
    plan = trained.plan
    origin: dict[str, Any] = {}
    if trained.began_from:
        origin["start"] = trained.began_from
    if trained.taught_by:
        origin |= {"teacher": trained.taught_by, "teacher_share": plan.teacher_share}
    return origin | {
        "epochs": plan.epochs,
        "seed": plan.seed,
        "batch_size": plan.batch_size,
        "optimizer": (
            f"{OPTIMISERS[plan.optimiser].format(plan.momentum)}; the rate rises for "
            f"{plan.warm_up_epochs:g} epochs, stays, and falls in a line over the last "
            f"{plan.cool_down_share:.0%}"
        ),
        "peak_learning_rate": plan.peak_rate,
        "weight_decay": plan.weight_decay,
        "label_smoothing": plan.label_smoothing,
        "average_decay": plan.average_decay,
        "phases": [
            {
                "epochs": round(phase.share * plan.epochs),
                "chip_px": phase.px,
                "mixed": phase.mixed,
                "colour": phase.colour,
            }
            | ({"enlarged_px": phase.enlarged_px} if phase.enlarged_px else {})
            for phase in plan.phases
        ],
        "augmentation": (
            "eight symmetries; windows moved and scaled by up to 15 %; brightness, contrast, "
            "saturation, band gain and offset, by the share `colour` of what version 1 had; in "
            f"mixed phases {plan.mixed_share:.0%} of the batches blended or pasted into one another"
        ),
    }


def evaluation_of(trained: Trained, moment: str) -> dict[str, Any]:
    """How good it is and how that was found."""
    return {
        "accuracy": round(trained.accuracy, 4),
        "recall": {
            name: round(value, 4) for name, value in zip(CLASSES, trained.recall, strict=True)
        },
        "confusion": trained.confusion.tolist(),
        "confusion_order": "rows: true class, columns: predicted class, both by class value",
        "split": (
            "The last 20 % of each class by file number are for validation and were never trained "
            "on. No epoch was chosen by its validation accuracy: the weights are the average that "
            "followed the training to its last step."
        ),
        "training_chips": trained.training_chips,
        "validation_chips": trained.validation_chips,
        "precision": "float32, batch norms not folded",
        "measured_at": moment,
        "hardware": trained.device,
        "training_s": round(trained.elapsed_s),
        "caveat": CAVEAT,
    }
