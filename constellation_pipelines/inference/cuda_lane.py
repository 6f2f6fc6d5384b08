"""A GPU's streams. Written with care and not yet run on a GPU."""

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor  # noqa: TID253

from constellation_pipelines.inference.batch import Batch
from constellation_pipelines.inference.letting_go import letting_go
from constellation_pipelines.inference.memory_gauge import MemoryGauge
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.pinned import Pinned
from constellation_pipelines.inference.ways import Forward, Ways

TRIALS = 3


@dataclass(slots=True)
class Own:
    """What a thread keeps for itself."""

    stream: Any
    pinned: Pinned = field(default_factory=Pinned)


class CudaLane:
    """A GPU, one stream for each thread that calls.

    Chips go to the device as stored, in 16 bits where the file has 16, by way of pinned memory, and
    are normalised there. While one thread's chips are copied on its stream, another's are computed
    on its own. Networks see batches of `size` always, the last one filled up: then a graph serves,
    and no chip's result depends on how many others came with it.
    """

    def __init__(self, device: torch.device) -> None:
        exact_float32()
        self._device = device
        self._threads = threading.local()
        self._ways = Ways(Captured, milliseconds)

    @torch.inference_mode()
    def infer(self, network: Network, normaliser: Normaliser, batch: Batch, size: int) -> Tensor:
        """All at once, filled up to `size`."""
        own = self._own()
        try:
            with letting_go():
                answer = self._infer(own, network, normaliser, batch, size)
        except RuntimeError:
            self._ways.forget(network)
            with suppress(RuntimeError):  # that is the same one, said again
                own.stream.synchronize()  # the pinned memory may still be copied from
            raise
        # Whoever takes the answer works on another stream: its memory is not to be used anew on
        # this one before that is done.
        answer.record_stream(torch.cuda.default_stream(self._device))
        return answer

    def _infer(
        self, own: Own, network: Network, normaliser: Normaliser, batch: Batch, size: int
    ) -> Tensor:
        with torch.cuda.stream(own.stream):
            pixels, valid = own.pinned.hold(batch)
            stored = pixels.to(self._device, non_blocking=True)
            holes = None if valid is None else valid.to(self._device, non_blocking=True)
            chips = filled(normaliser(stored, holes), size)
            answer = self._ways.answer(network, chips)[: len(batch)]
        own.stream.synchronize()  # errors come up here, and the pinned memory is free again
        return answer

    def _own(self) -> Own:
        if not hasattr(self._threads, "own"):
            self._threads.own = Own(torch.cuda.Stream(self._device))  # type: ignore[no-untyped-call]
        return cast(Own, self._threads.own)


def filled(chips: Tensor, size: int) -> Tensor:
    """Filled up with zeros to `size` chips; itself where it has as many."""
    if len(chips) == size:
        return chips
    whole = chips.new_zeros((size, *chips.shape[1:]))
    whole[: len(chips)] = chips
    return whole


def exact_float32() -> None:
    """Compute float32 as such. cuDNN would round it to 10 bits of mantissa, and networks of numbers
    and vectors are held in float32 because bfloat16 is not exact enough for them.
    """
    backends: Any = torch.backends
    backends.cudnn.conv.fp32_precision = "ieee"
    backends.cuda.matmul.fp32_precision = "ieee"


def gauge_of(device: torch.device) -> MemoryGauge:
    """A GPU's memory, as torch's allocator knows it."""
    return MemoryGauge(
        lambda: torch.cuda.memory_allocated(device),
        lambda: torch.cuda.max_memory_allocated(device),
        lambda: torch.cuda.reset_peak_memory_stats(device),
    )


def milliseconds(forward: Forward, chips: Tensor) -> float:
    """The shortest of some runs on the thread's stream, the first of which sets up."""
    stream = torch.cuda.current_stream(chips.device)
    found = []
    for _ in range(TRIALS + 1):
        began: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        ended: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        began.record(stream)
        forward(chips)
        ended.record(stream)
        stream.synchronize()
        found.append(float(began.elapsed_time(ended)))
    return min(found[1:])


class Captured:
    """A network's kernels for one size of batch, started as one. It does not hold the network."""

    def __init__(self, network: Network, chips: Tensor) -> None:
        stream = torch.cuda.current_stream(chips.device)
        network.answer(chips)  # sets up what this thread and stream need, which no graph can hold
        stream.synchronize()
        self._chips = chips.clone()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile. None waits for the whole device: that would fail.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._answer = network.answer(self._chips)

    def __call__(self, chips: Tensor) -> Tensor:
        """What the network says; a copy, since the next run writes into the same memory."""
        self._chips.copy_(chips)
        self._graph.replay()
        return self._answer.clone()
