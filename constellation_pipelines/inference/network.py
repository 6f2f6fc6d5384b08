"""A package's network, made ready to run fast on one device."""

import copy
import logging
import time
from collections.abc import Callable

import torch  # noqa: TID253 - a network is torch; only the engine imports this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard, Task
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.fusing import fused
from constellation_pipelines.inference.letting_go import letting_go
from constellation_pipelines.inference.near_ties import (
    LEAST_EXAMPLES,
    NearTies,
    made_up_land,
    near_ties_of,
)

BATCH = 64
# On the processor chips are inferred in slices of so many pixels: what a slice leaves in a core's
# cache is faster than any gain of a larger one. A dense network leaves more.
SLICE_PX = 1 << 18
DENSE_SLICE_PX = 1 << 17
LARGEST_BATCH = 4096
CUDA_LANES = 2  # of a GPU: one copies while the other computes
LARGEST_SHARE = 0.8  # of a GPU's memory that nobody holds, for the batches of all lanes
LEAST_GAIN = 0.03  # of throughput, for a batch to be doubled
MEBIBYTE = 2**20

log = logging.getLogger(__name__)


class Network:
    """A network with folded batch norms, channels last, in the device's fastest safe type.

    Any callable from a tensor to a tensor is taken; one that is no module, or whose graph the card
    does not name, is called as it is.
    """

    def __init__(
        self, module: nn.Module | Callable[[Tensor], Tensor], card: ModelCard, device: torch.device
    ) -> None:
        self.card = card
        self.device = device
        self.slice = slice_of(card)  # chips in one call on the processor
        # The largest batch that is tried; halved where the device has no room for it.
        self.batch = BATCH if device.type == "cuda" else self.slice
        self.mem_mb = 0.0  # the most that a batch has taken so far, context and weights included
        self.dtype = type_for(card, device)
        self.near_ties: NearTies | None = None
        exact: nn.Module | None = None
        if isinstance(module, nn.Module):
            module, exact = self._prepared(module)
        self.weights_mb: float = weights_mb(module)
        self.module: Callable[[Tensor], Tensor] = module
        if isinstance(module, nn.Module) and device.type == "cpu":
            self.module = fused(module, self._noise(self.slice))
        if exact is not None and self._answers_as_its_card_says():
            self._decide(exact)

    @torch.inference_mode()
    def answer(self, chips: Tensor) -> Tensor:
        """Normalised chips (n, bands, px, px) -> what the network says.

        Logits of classes (n, classes), numbers (n, 1, px, px) or vectors (n, channels) in float32;
        logits of pixels (n, classes, px, px) in the network's own type. NaN where it fails.
        """
        chips = chips.to(self.dtype)
        if self.device.type == "cuda":
            chips = chips.contiguous(memory_format=torch.channels_last)
        # In the network's own type as long as possible: half as many bytes to turn round.
        found = self.module(chips).contiguous()
        if self.card.task is Task.SEGMENTATION:
            return found
        found = found.float()
        if self.card.task is Task.REGRESSION:
            return found.reshape(len(found), 1, *found.shape[-2:])
        return found

    @property
    def on_device(self) -> bool:
        """Whether its numbers lie on the device, and all of its work is done there."""
        module = self.module
        return isinstance(module, nn.Module) and weights_mb(module) > 0

    def warm_up(self) -> float:
        """Run one empty batch, so that the first real one pays for no set-up; milliseconds.

        Raises ModelRefused where what comes out has not the shape that the card says.
        """
        began = time.perf_counter()
        size = self.batch if self.device.type == "cuda" else self.slice
        found = self.answer(self._empty(size))
        if tuple(found.shape) != (size, *self._answer_shape()):
            raise ModelRefused(
                f"the network of {self.card.reference} answers {tuple(found.shape)} where its card "
                f"says {(size, *self._answer_shape())}"
            )
        if self.device.type == "cuda":
            wait_for(self.device)
        return 1000 * (time.perf_counter() - began)

    def tune(self) -> None:
        """On a GPU, take the batch from which on a larger one gains nothing, or has no room.

        On the processor slices are what counts, and their size is known. Not yet run on a GPU.
        """
        if self.device.type == "cuda":
            self.batch = tuned_batch(self._seconds, self.batch, LARGEST_BATCH)

    def _seconds(self, size: int) -> float | None:
        """What a batch takes; None where it would take more than its share of the memory."""
        # What other networks' batches took once is not this one's.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        held = torch.cuda.memory_reserved(self.device)
        try:
            with letting_go():
                for _ in range(2):  # the first one sets up
                    began = time.perf_counter()
                    self.answer(self._empty(size))
                    wait_for(self.device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return None
        total = torch.cuda.get_device_properties(self.device).total_memory
        if not has_room(torch.cuda.max_memory_reserved(self.device) - held, total - held):
            torch.cuda.empty_cache()
            return None
        return time.perf_counter() - began

    def _empty(self, size: int) -> Tensor:
        card = self.card
        shape = (size, len(card.bands), card.chip_px, card.chip_px)
        return torch.zeros(shape, device=self.device, dtype=self.dtype)

    def _noise(self, size: int) -> Tensor:
        """Chips on which two ways to compute would differ."""
        source = torch.Generator().manual_seed(0)
        return torch.randn(self._empty(size).shape, generator=source).to(self.dtype)

    @torch.inference_mode()
    def _answers_as_its_card_says(self) -> bool:
        found = self.module(self._empty(self.slice))
        return tuple(found.shape) == (self.slice, *self._answer_shape())

    def _decide(self, exact: nn.Module) -> None:
        """Take near ties once more in float32; where they are too many, everything, once."""
        near_ties = self._near_ties(exact)
        if not near_ties.too_many:
            self.near_ties = near_ties
            self.weights_mb += weights_mb(exact)
            return
        log.warning(
            "%s runs in float32: bfloat16 leaves %.0f %% of its examples undecided",
            self.card.reference,
            100 * near_ties.share,
        )
        self.dtype = torch.float32
        self.module = fused(exact, self._noise(self.slice))
        self.weights_mb = weights_mb(exact)

    def _near_ties(self, exact: nn.Module) -> NearTies:
        card = self.card
        count = -(-LEAST_EXAMPLES // self.slice) * self.slice
        one = fused(exact, self._noise(1).float())
        examples = made_up_land(count, len(card.bands), card.chip_px)
        return near_ties_of(one, self.module, examples, self.slice)

    def _answer_shape(self) -> tuple[int, ...]:
        card = self.card
        channels = card.channels or len(card.classes)
        return (channels, card.chip_px, card.chip_px) if card.dense else (channels,)

    def _prepared(self, module: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        """Folded and in the fastest type where that can be; in float32 where it cannot. Beside it
        the same in float32, where the fastest type can leave chips undecided.
        """
        if self.card.architecture is not None:
            module = fold_batch_norms(module)
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        else:
            parts = (*module.parameters(), *module.buffers())
            holds = any(part.is_floating_point() for part in parts)
            # One that keeps its numbers to itself computes in its own type, whatever it is given.
            if not holds or not self._takes(copy.deepcopy(module).to(self.device, self.dtype)):
                self.dtype = torch.float32
        exact = copy.deepcopy(module) if self._rounds else None
        return module.to(self.device, self.dtype), exact

    @property
    def _rounds(self) -> bool:
        """Whether chips of a class are told apart in bfloat16. On a GPU it is left at that."""
        named = self.card.task is Task.SCENE_CLASSIFICATION and len(self.card.classes) > 1
        return named and self.dtype is torch.bfloat16 and self.device.type == "cpu"

    def _takes(self, module: nn.Module) -> bool:
        """Whether a graph of someone else's works in the fastest type."""
        try:
            with torch.inference_mode():
                return bool(module(self._empty(1)).isfinite().all())
        except torch.OutOfMemoryError:  # says nothing of the type, and float32 takes twice as much
            raise
        except (RuntimeError, TypeError, ValueError):
            return False


def wait_for(device: torch.device) -> None:
    """Until the GPU has done what this thread gave it. Not all of its streams: one of them may be
    capturing a graph, and waiting for that is an error which breaks both.
    """
    torch.cuda.current_stream(device).synchronize()


def type_for(card: ModelCard, device: torch.device) -> torch.dtype:
    """The fastest type that is exact enough: the best of some classes is the same in bfloat16, a
    number or a vector is not.
    """
    ranked = card.task in (Task.SCENE_CLASSIFICATION, Task.SEGMENTATION)
    return fastest_type(device) if ranked else torch.float32


def fastest_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes it natively, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.bfloat16 if native else torch.float32


def slice_of(card: ModelCard) -> int:
    """Chips in one call on the processor, a power of two."""
    chips = max((DENSE_SLICE_PX if card.dense else SLICE_PX) // card.chip_px**2, 1)
    return min(1 << (chips.bit_length() - 1), BATCH)


def weights_mb(module: Callable[[Tensor], Tensor]) -> float:
    """What a network's numbers take."""
    if not isinstance(module, nn.Module):
        return float(getattr(module, "weights_mb", 0.0))
    tensors = [*module.parameters(), *module.buffers()]
    return sum(one.numel() * one.element_size() for one in tensors) / MEBIBYTE


def has_room(taken: int, free: int) -> bool:
    """Whether each lane of a GPU can have a batch that takes so much of what is free, in bytes."""
    return CUDA_LANES * taken <= LARGEST_SHARE * free


def tuned_batch(seconds: Callable[[int], float | None], start: int, most: int) -> int:
    """The batch to use: doubled from `start` while that makes a chip at least 3 % cheaper.

    `seconds` measures one batch, and says None where it has no room.
    """
    best, spent_s = start, seconds(start)
    while spent_s is not None and 2 * best <= most:
        next_s = seconds(2 * best)
        if next_s is None or next_s / 2 > spent_s * (1 - LEAST_GAIN):
            return best
        best, spent_s = 2 * best, next_s
    return best
