"""A package's network, made ready to run fast on one device."""

import time

import numpy as np
import torch  # noqa: TID253 - a network is torch; only the engine imports this module
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.folding import fold_batch_norms

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


def fastest_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes it natively, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.bfloat16 if native else torch.float32
