"""What computes a batch: a core of the processor, or a stream of a GPU."""

import threading
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


class CudaLane:
    """A GPU, one stream and one pinned buffer for each thread that calls.

    Chips go to the device as stored, in 16 bits where the file has 16, and are normalised there.
    While one thread's chips are copied on its stream, the other's are computed on its own. Written
    with care and not yet run on a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._own = threading.local()

    @torch.inference_mode()
    def infer(self, network: Network, normaliser: Normaliser, batch: Batch, size: int) -> Tensor:
        """All at once, filled up to `size`."""
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)
            self._own.pinned = {}
        stream: torch.cuda.Stream = self._own.stream
        with torch.cuda.stream(stream):
            pixels, holes = batch.pixels()
            stored = self._upload("pixels", filled(pixels, size))
            valid = None if holes is None else self._upload("holes", filled(holes, size))
            answer = network.answer(normaliser(stored, valid))[: len(pixels)]
        stream.synchronize()  # errors come up here, and the pinned buffer is free again
        return answer

    def _upload(self, name: str, values: NDArray[Any]) -> Tensor:
        """Values on the device, by way of this thread's pinned buffer of that name and shape."""
        source = torch.from_numpy(values)
        key = (name, values.shape, values.dtype)
        pinned = self._own.pinned.get(key)
        if pinned is None:
            kept = {k: v for k, v in self._own.pinned.items() if k[0] != name}
            pinned = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
            self._own.pinned = {**kept, key: pinned}
        pinned.copy_(source)
        return pinned.to(self._device, non_blocking=True)


def filled(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Filled up with zeros to `size` along the first axis; itself where it has that already."""
    if len(values) >= size:
        return values
    return np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])
