"""What computes a batch: a core of the processor here, a stream of a GPU in `cuda_lane`."""

from typing import Protocol

import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor  # noqa: TID253

from constellation_pipelines.inference.batch import Batch
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.normalise import Normaliser


class Lane(Protocol):
    """Infers batches; several threads use one at once."""

    def infer(self, network: Network, normaliser: Normaliser, batch: Batch, size: int) -> Tensor:
        """What the network says of the batch's chips (n, ...), on its device.

        The network sees `size` chips where its kernels are set up per shape; what comes of the
        filling is dropped.
        """


class ProcessorLane:
    """The thread that calls, on the core it runs on.

    A batch is inferred in slices that stay in the core's cache. Each has the same shape, the last
    one filled up: kernels are set up once, and no chip's result depends on how many others came
    with it.
    """

    @torch.inference_mode()
    def infer(self, network: Network, normaliser: Normaliser, batch: Batch, size: int) -> Tensor:
        """One slice after the other; near ties once more, each by itself."""
        found = []
        for start in range(0, len(batch), network.slice):
            part = batch.part(start, start + network.slice)
            chips = normalised(normaliser, part, network.slice, network.dtype)
            found.append(network.answer(chips)[: len(part)])
        answer = found[0] if len(found) == 1 else torch.cat(found)
        if network.near_ties is not None:
            network.near_ties.decide(answer, lambda i: exactly(normaliser, batch.part(i, i + 1)))
        return answer


def exactly(normaliser: Normaliser, chip: Batch) -> Tensor:
    """A batch of one chip (1, bands, px, px) in float32; a flat chip as a view of its pixel."""
    pixels, holes = next(chip.pieces())
    corner = pixels[:, :, :1, :1]
    if holes is not None or not (pixels == corner).all():
        return normalised(normaliser, chip, 1, torch.float32)
    values = torch.empty(corner.shape)
    normaliser.fill(values, torch.from_numpy(corner), None)
    return values.expand(pixels.shape)


def normalised(normaliser: Normaliser, batch: Batch, size: int, dtype: torch.dtype) -> Tensor:
    """A batch's chips (size, bands, px, px), filled up with zeros."""
    result: Tensor | None = None
    filled = 0
    for pixels, holes in batch.pieces():
        if result is None:
            result = torch.empty((size, *pixels.shape[1:]), dtype=dtype)
        mask = None if holes is None else torch.from_numpy(holes)
        normaliser.fill(result[filled : filled + len(pixels)], torch.from_numpy(pixels), mask)
        filled += len(pixels)
    assert result is not None, "a batch has chips"
    result[filled:] = 0
    return result
