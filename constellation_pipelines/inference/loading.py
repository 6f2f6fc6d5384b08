"""A package's network as its files have it: float32, in eval mode, whatever format it came in."""

from pathlib import Path

import torch  # noqa: TID253 - a network is torch; only the engine imports this module
from torch import nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard, Task, WeightsFormat
from constellation_pipelines.inference.architectures import OPTIONS, build_empty


def load_module(folder: Path, card: ModelCard) -> nn.Module:
    """The network: normalised chips (n, bands, px, px) -> what the card's output says.

    Raises ModelRefused where card and weights do not agree.
    """
    if card.weights_format is WeightsFormat.EXPORTED:
        from constellation_pipelines.inference.exported import load_exported

        return load_exported(folder / card.weights_file, card)
    if card.weights_format is WeightsFormat.ONNX:
        from constellation_pipelines.inference.onnx_network import load_onnx

        return load_onnx(folder / card.weights_file, card)
    return load_named(folder / card.weights_file, card)


def load_named(path: Path, card: ModelCard) -> nn.Module:
    """The card's architecture, filled from a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_options(card)
    options = card.architecture_options
    module = build_empty(card.architecture or "", options)
    try:
        weights = load_file(path)
        module.load_state_dict(weights, strict=True, assign=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelRefused(
            f"the weights of {card.reference} do not fit {card.architecture} with {options}: "
            f"{first_difference(error)}"
        ) from error
    check_finite(card, weights)
    return module.float().eval()


def check_options(card: ModelCard) -> None:
    """The options repeat what the card says of bands and outputs; refuse where they differ."""
    options = card.architecture_options
    outputs = (0, card.channels) if card.task is Task.EMBEDDING else (card.channels,)
    if options.get("bands") != len(card.bands) or options.get("classes") not in outputs:
        raise ModelRefused(
            "options bands and classes must be the counts of the card's bands and classes",
            field=OPTIONS,
        )


def check_finite(card: ModelCard, weights: dict[str, torch.Tensor]) -> None:
    """Refuse weights with NaN or infinity: every result would be one."""
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ModelRefused(f"the weights of {card.reference} hold values that are no numbers")


def first_difference(error: Exception) -> str:
    """The first thing that torch or safetensors says is wrong, in one short line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__)[:300]
