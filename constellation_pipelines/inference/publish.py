"""A trained network's numbers, written as a package."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor  # noqa: TID253 - only the training assets import this module

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


def weights_asset(size_bytes: int, sha256: str) -> dict[str, Any]:
    """The card's asset for the weights."""
    return {
        "href": WEIGHTS_FILE,
        "title": "Weights, float32",
        "type": "application/octet-stream; application=safetensors",
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": "safetensors.torch.save_file",
        "file:size": size_bytes,
        "file:checksum": f"1220{sha256}",
    }
