"""What computes a batch: a core of the processor here, a stream of a GPU in `cuda_lane`."""

from typing import Any, Protocol

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from numpy.typing import NDArray
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
        """One slice after the other."""
        found = []
        for start in range(0, len(batch), network.slice):
            pixels, holes = batch.part(start, start + network.slice).pixels()
            mask = None if holes is None else filled(holes, network.slice)
            chips = normaliser(*normaliser.stored(filled(pixels, network.slice), mask))
            found.append(network.answer(chips)[: len(pixels)])
        return found[0] if len(found) == 1 else torch.cat(found)


def filled(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Filled up with zeros to `size` along the first axis; itself where it has that already."""
    if len(values) >= size:
        return values
    return np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])
