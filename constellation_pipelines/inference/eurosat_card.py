"""The card of a network trained on EuroSAT: what it takes, what it gives, how far to trust it."""

from typing import Any

import torch  # noqa: TID253 - states the version that trained; only the training asset imports this

from constellation_pipelines.inference.eurosat import BANDS, CHIP_PX, CLASSES
from constellation_pipelines.inference.publish import weights_asset
from constellation_pipelines.inference.train import Trained

NAME = "eurosat-landcover"
GSD_RANGE_M = (5.0, 20.0)
# EuroSAT's authors mapped Level-1C values 0 to 2750, that is reflectance 0 to 0.275, linearly to
# 8 bits, and clipped the rest. Reflectance of other sources is brought to 0..1 in the same way.
REFLECTANCE_WHITE = 0.275
EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/version/v1.2.0/schema.json",
)
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


def describe(
    trained: Trained, *, version: str, weights_bytes: int, weights_sha256: str, data_sha256: str
) -> dict[str, Any]:
    """The `model.json` document, a STAC Item with the MLM extension."""
    moment = trained.trained_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    parameters = sum(p.numel() for p in trained.network.parameters())
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": f"{NAME}-{version}",
        "geometry": None,  # the chips' places are not published
        "properties": {
            "datetime": moment,
            "title": "EuroSAT land cover, ten classes",
            "description": "Names the land cover of a chip from its red, green and blue bands.",
            "license": "MIT",
            "version": version,
            "bands": [{"name": band, "eo:common_name": band} for band in BANDS],
            "mlm:name": NAME,
            "mlm:architecture": trained.plan.architecture,
            "mlm:tasks": ["scene-classification"],
            "mlm:framework": "PyTorch",
            "mlm:framework_version": str(torch.__version__),
            "mlm:total_parameters": parameters,
            "mlm:memory_size": weights_bytes,
            "mlm:pretrained": True,
            "mlm:pretrained_source": "EuroSAT RGB",
            "mlm:input": [input_of(trained)],
            "mlm:output": [output_of()],
            "mlm:hyperparameters": hyperparameters_of(trained),
            "constellation:architecture_options": trained.options,
            "constellation:chip_px": CHIP_PX,
            "constellation:halo_px": 0,
            "constellation:gsd_min_m": GSD_RANGE_M[0],
            "constellation:gsd_max_m": GSD_RANGE_M[1],
            "constellation:reflectance_white": REFLECTANCE_WHITE,
            "constellation:good_for": list(GOOD_FOR),
            "constellation:not_for": list(NOT_FOR),
            "constellation:training_data": {
                "name": "EuroSAT RGB",
                "sha256": data_sha256,
                "chips": trained.training_chips + trained.validation_chips,
                "license": "MIT; contains Copernicus Sentinel data",
                "doi": "10.1109/JSTARS.2019.2918242",
            },
            "constellation:evaluation": evaluation_of(trained, moment),
        },
        "links": [],
        "assets": {"weights": weights_asset(weights_bytes, weights_sha256)},
    }


def input_of(trained: Trained) -> dict[str, Any]:
    """Bands, shape, and how stored values become the network's input."""
    return {
        "name": "chips",
        "description": (
            "8-bit true colour is divided by 255. Reflectance is divided by "
            "constellation:reflectance_white and clipped to 0..1: the training chips are a linear "
            "stretch of top-of-atmosphere reflectance 0 to 0.275 (Sentinel-2 Level-1C values 0 to "
            "2750). Then value_scaling applies, band by band."
        ),
        "bands": list(BANDS),
        "input": {
            "shape": [-1, len(BANDS), CHIP_PX, CHIP_PX],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(trained.mean, trained.std, strict=True)
        ],
        "resize_type": None,
        "pre_processing_function": None,
    }


def output_of() -> dict[str, Any]:
    """Scores, one per class."""
    return {
        "name": "class scores",
        "tasks": ["scene-classification"],
        "result": {
            "shape": [-1, len(CLASSES)],
            "dim_order": ["batch", "class"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": value,
                "name": name,
                "description": DESCRIPTIONS[name][1],
                "color_hint": DESCRIPTIONS[name][0].upper(),
            }
            for value, name in enumerate(CLASSES)
        ],
        "post_processing_function": None,
    }


def hyperparameters_of(trained: Trained) -> dict[str, Any]:
    """What to set to train it again."""
    plan = trained.plan
    return {
        "epochs": plan.epochs,
        "seed": plan.seed,
        "batch_size": plan.batch_size,
        "optimizer": (
            f"SGD, Nesterov momentum {plan.momentum}; the rate rises for {plan.warm_up_epochs:g} "
            f"epochs, stays, and falls in a line over the last {plan.cool_down_share:.0%}"
        ),
        "peak_learning_rate": plan.peak_rate,
        "weight_decay": plan.weight_decay,
        "label_smoothing": plan.label_smoothing,
        "average_decay": plan.average_decay,
        "phases": [
            {"epochs": round(phase.share * plan.epochs), "chip_px": phase.px, "mixed": phase.mixed}
            for phase in plan.phases
        ],
        "augmentation": (
            "eight symmetries; windows moved and scaled by up to 15 %; brightness, contrast, "
            "saturation, band gain and offset, by half of what version 1 had; in mixed phases half "
            "of the batches blended or pasted into one another"
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
