"""Model packages of the benchmark: networks of the usual sizes with seeded weights.

Their classes mean nothing; they stand for the cost of such networks. Random weights would put class
borders everywhere, and a map would then measure rounding, so the last layer is chosen to be sure of
itself: it looks along the direction in which the synthetic scene varies most, and names both ends.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.scenes import BANDS, ROWS_AT_ONCE, cache_folder, land
from benchmarks.engine.workload import REFLECTANCE_SCALE

SHIPPED = Path(__file__).parents[2] / "models"
SEED = 0
MEAN, STD = 0.18, 0.07  # of the synthetic scene's reflectance
CALIBRATION_PX = 64
RARE_STD = 2.0  # how far from the middle a class at the end begins, in standard deviations
SHARPNESS = 10.0


def resnet18() -> Path:
    """torchvision's ResNet-18 with four bands and ten classes, chips of 64 px: 0.3025 GFLOP."""
    options = {"bands": 4, "classes": 10}
    return package("bench-resnet18", "resnet18", options, "scene-classification", 64, 0)


def unet() -> Path:
    """A U-Net 16 to 128 wide with four bands and six classes, chips of 256 px: 4.67 GFLOP."""
    options = {"bands": 4, "classes": 6, "width": 16, "depth": 4}
    return package("bench-unet", "unet", options, "semantic-segmentation", 256, 16)


def shipped(name: str) -> Path | None:
    """The newest version of a package of this checkout, None where there is none."""
    versions = sorted((SHIPPED / name).glob("*/model.json"), key=lambda card: int(card.parent.name))
    return versions[-1].parent if versions else None


def package(
    name: str, architecture: str, options: dict[str, Any], task: str, chip_px: int, halo_px: int
) -> Path:
    """A package in the cache folder, made where it is missing."""
    folder = cache_folder() / "models" / name / "1"
    if not (folder / "model.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "weights.safetensors"
        write_weights(weights, architecture, options)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        card = describe(name, architecture, options, task, chip_px, halo_px, digest)
        draft = folder / "model.draft"
        draft.write_text(json.dumps(card, indent=1))
        os.replace(draft, folder / "model.json")
    return folder


def write_weights(path: Path, architecture: str, options: dict[str, Any]) -> None:
    """Seeded weights, with batch norms and last layer fitted to the synthetic scene."""
    import torch
    from safetensors.torch import save_file

    from constellation_pipelines.inference.architectures import build

    torch.manual_seed(SEED)
    module = build(architecture, options)
    side = CALIBRATION_PX
    strip = next(land(2 * ROWS_AT_ONCE))[: options["bands"], :, : 2 * ROWS_AT_ONCE]
    chips = np.stack(
        [
            strip[:, top : top + side, left : left + side]
            for top in range(0, strip.shape[1], side)
            for left in range(0, strip.shape[2], side)
        ]
    )
    inputs: Any = (torch.from_numpy(chips.astype(np.float32)) * REFLECTANCE_SCALE - MEAN) / STD
    with torch.no_grad():
        for part in inputs.split(32):  # in training mode: batch norms learn mean and variance
            module(part)
        module.eval()
        make_sure(module, inputs)
    save_file(module.state_dict(), path)


def make_sure(module: Any, inputs: Any) -> None:
    """Have the last layer say 1 and 2 at the ends of its inputs' main direction, else 0."""
    import torch

    *_, head = (
        part for part in module.modules() if hasattr(part, "weight") and part.weight.ndim in (2, 4)
    )
    seen: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    for part in inputs[:64].split(16):
        module(part)
    hook.remove()
    features = torch.cat(seen)
    if features.ndim == 4:
        features = features.permute(0, 2, 3, 1).flatten(0, 2)[::7]
    centre = features.mean(0)
    _, _, directions = torch.linalg.svd(features[:20_000] - centre, full_matrices=False)
    direction = directions[0]
    scale = 1 / ((features - centre) @ direction).std()
    head.weight.zero_()
    head.bias.fill_(-10.0)
    for index, sign in ((1, 1.0), (2, -1.0)):
        head.weight[index] = (SHARPNESS * sign * scale * direction).view_as(head.weight[index])
        head.bias[index] = -SHARPNESS * (sign * scale * (centre @ direction) + RARE_STD)
    head.bias[0] = 0.0


def describe(
    name: str,
    architecture: str,
    options: dict[str, Any],
    task: str,
    chip_px: int,
    halo_px: int,
    sha256: str,
) -> dict[str, Any]:
    """The card."""
    bands = BANDS[: options["bands"]]
    count = options["classes"]
    dense = task == "semantic-segmentation"
    classes = [
        {"value": i, "name": f"class {i}", "color_hint": f"{(i * 23) % 256:02X}8040"}
        for i in range(count)
    ]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"{name}-1",
        "geometry": None,
        "properties": {
            "datetime": "2026-11-25T00:00:00Z",
            "version": "1",
            "bands": [{"name": band, "eo:common_name": band} for band in bands],
            "mlm:name": name,
            "mlm:architecture": architecture,
            "mlm:tasks": [task],
            "mlm:input": [
                {
                    "bands": list(bands),
                    "input": {"shape": [-1, len(bands), chip_px, chip_px]},
                    "value_scaling": [{"type": "z-score", "mean": MEAN, "stddev": STD}]
                    * len(bands),
                }
            ],
            "mlm:output": [
                {
                    "result": {"shape": [-1, count, *([chip_px, chip_px] if dense else [])]},
                    "classification:classes": classes,
                }
            ],
            "constellation:architecture_options": options,
            "constellation:chip_px": chip_px,
            "constellation:halo_px": halo_px,
            "constellation:gsd_min_m": 1,
            "constellation:gsd_max_m": 100,
            "constellation:reflectance_white": 1.0,
        },
        "assets": {
            "weights": {
                "href": "weights.safetensors",
                "file:checksum": f"1220{sha256}",
            }
        },
    }
