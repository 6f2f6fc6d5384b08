"""A package's network, made ready to run fast on one device."""

import copy
import time
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - a network is torch; only the engine imports this module
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253
from torch.nn.utils.fusion import fuse_conv_bn_eval  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.architectures import ResidualBlock, build_without_memory

BATCH = 64  # on the processor larger batches are no faster, and results come later


class Network:
    """A network with folded batch norms, channels last, in the device's fastest safe type."""

    def __init__(self, module: nn.Module, card: ModelCard, device: torch.device) -> None:
        self.card = card
        self.device = device
        self.batch = BATCH  # the largest that is tried; halved where the device has no room for it
        self.mem_mb = 0.0  # the most that a batch has taken so far, context and weights included
        self.dtype = fastest_type(device)
        folded = fold_batch_norms(module).to(device, self.dtype)
        self.module = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        sizes = (part.numel() * part.element_size() for part in self.module.parameters())
        self.weights_mb: float = sum(sizes) / 2**20

    @torch.inference_mode()
    def classify(self, chips: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Normalised chips (n, bands, px, px) -> index of the best class, its probability."""
        scores: Tensor = self.module(chips.to(self.dtype))
        probability, index = scores.float().softmax(1).max(1)
        return index.cpu().numpy(), probability.cpu().numpy()

    def warm_up(self) -> float:
        """Run one empty batch, so that the first real one pays for no set-up; milliseconds."""
        began = time.perf_counter()
        card = self.card
        shape = (self.batch, len(card.bands), card.chip_px, card.chip_px)
        empty = torch.zeros(shape, device=self.device)
        self.classify(empty.contiguous(memory_format=torch.channels_last))
        return 1000 * (time.perf_counter() - began)


def load_module(folder: Path, card: ModelCard) -> nn.Module:
    """The card's architecture with its weights, as trained: float32, in eval mode.

    Raises ModelRefused where architecture, options and weights do not agree.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    options = card.architecture_options
    if (options.get("bands"), options.get("classes")) != (len(card.bands), len(card.classes)):
        raise ModelRefused(
            "options bands and classes must be the counts of the card's bands and classes",
            field="properties.constellation:architecture_options",
        )
    module = build_without_memory(card.architecture or "", options)
    try:
        weights = load_file(folder / card.weights_file)
        module.load_state_dict(weights, strict=True, assign=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelRefused(
            f"the weights of {card.reference} do not fit {card.architecture} with {options}"
        ) from error
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ModelRefused(f"the weights of {card.reference} hold values that are no numbers")
    return module.float().eval()


def fastest_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes it natively, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.bfloat16 if native else torch.float32


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy in eval mode whose batch norms are part of the convolutions before them."""
    folded = copy.deepcopy(module).eval()
    for part in folded.modules():
        if isinstance(part, nn.Sequential):
            fold_sequence(part)
        elif isinstance(part, ResidualBlock):
            part.conv1, part.norm1 = fold_pair(part.conv1, part.norm1)
            part.conv2, part.norm2 = fold_pair(part.conv2, part.norm2)
    return folded


def fold_sequence(sequence: nn.Sequential) -> None:
    """Fold each batch norm that directly follows a convolution."""
    for i in range(len(sequence) - 1):
        first, second = sequence[i], sequence[i + 1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            sequence[i], sequence[i + 1] = fold_pair(first, second)


def fold_pair(conv: nn.Conv2d, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """One convolution that does the work of both, and nothing in the norm's place."""
    if not isinstance(norm, nn.BatchNorm2d):
        return conv, norm
    return fuse_conv_bn_eval(conv, norm), nn.Identity()
