"""A trained network's numbers, written as a package."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - only the training assets import this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference.package import file_sha256, write_package

WEIGHTS_FILE = "weights.safetensors"
Describe = Callable[[int, str], dict[str, Any]]


def publish_weights(folder: Path, state: Mapping[str, Tensor], describe: Describe) -> Model:
    """Write weights and card; `describe` makes the card of the weights' size and sha256."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{WEIGHTS_FILE}.draft"
    save_file({name: value.contiguous() for name, value in state.items()}, draft)
    document = describe(draft.stat().st_size, file_sha256(draft))
    draft.chmod(0o644)  # the library makes it private
    return write_package(folder, document, draft)


def own_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture's options without those that the card's template knows by itself."""
    return {name: value for name, value in options.items() if name not in ("bands", "classes")}


def name_classes(document: dict[str, Any], told: Mapping[str, tuple[str, str]]) -> None:
    """Give the classes of a card their colours (six hex digits) and descriptions, by name."""
    for found in document["properties"]["mlm:output"][0]["classification:classes"]:
        colour, found["description"] = told[found["name"]]
        found["color_hint"] = colour.upper()


def facts_of(network: nn.Module, weights_bytes: int) -> dict[str, Any]:
    """What a card says of every network that was trained here."""
    return {
        "license": "MIT",
        "mlm:framework_version": str(torch.__version__),
        "mlm:total_parameters": sum(part.numel() for part in network.parameters()),
        "mlm:memory_size": weights_bytes,
        "mlm:pretrained": True,
    }
