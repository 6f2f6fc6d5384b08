"""A GPU's streams. Written with care and not yet run on a GPU."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253

from constellation_pipelines.inference.batch import Batch
from constellation_pipelines.inference.network import LEAST_GAIN, Network
from constellation_pipelines.inference.normalise import Normaliser

TRIALS = 3

Forward = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class Own:
    """What a thread keeps for itself: its stream, its pinned buffers by use, and per network and
    size of batch the fastest way through.
    """

    stream: Any
    pinned: dict[str, Tensor] = field(default_factory=dict)
    ways: "WeakKeyDictionary[Network, dict[int, Forward]]" = field(
        default_factory=WeakKeyDictionary
    )


class CudaLane:
    """A GPU, one stream for each thread that calls.

    Chips go to the device as stored, in 16 bits where the file has 16, by way of pinned memory, and
    are normalised there. While one thread's chips are copied on its stream, another's are computed
    on its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._threads = threading.local()

    @torch.inference_mode()
    def infer(self, network: Network, normaliser: Normaliser, batch: Batch, size: int) -> Tensor:
        """All at once, filled up to `size`."""
        own = self._own()
        with torch.cuda.stream(own.stream):
            pixels, holes = batch.pixels()
            stored = self._upload(own, "pixels", filled(pixels, size))
            valid = None if holes is None else self._upload(own, "holes", filled(holes, size))
            chips = normaliser(stored, valid)
            answer = way_of(own, network, chips)(chips)[: len(batch)]
        own.stream.synchronize()  # errors come up here, and the pinned buffers are free again
        return answer

    def _own(self) -> Own:
        if not hasattr(self._threads, "own"):
            self._threads.own = Own(torch.cuda.Stream(self._device))  # type: ignore[no-untyped-call]
        return cast(Own, self._threads.own)

    def _upload(self, own: Own, use: str, values: NDArray[Any]) -> Tensor:
        """Values on the device, by way of the thread's pinned buffer for this use."""
        source = torch.from_numpy(values)
        pinned = own.pinned.get(use)
        if pinned is None or (pinned.shape, pinned.dtype) != (source.shape, source.dtype):
            pinned = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
            own.pinned[use] = pinned
        pinned.copy_(source)
        return pinned.to(self._device, non_blocking=True)


def filled(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Filled up with zeros to `size` along the first axis; itself where it has that already."""
    if len(values) >= size:
        return values
    return np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])


def way_of(own: Own, network: Network, chips: Tensor) -> Forward:
    """The network itself, or a graph of it where that is faster; found out once per full batch."""
    if len(chips) != network.batch:
        return network.answer
    ways = own.ways.setdefault(network, {})
    if len(chips) not in ways:
        ways[len(chips)] = fastest(network, chips, own.stream)
    return ways[len(chips)]


def fastest(network: Network, chips: Tensor, stream: Any) -> Forward:
    """Try a graph beside the network; take it where a batch gains at least 3 %."""
    plain_ms = milliseconds(network.answer, chips, stream)
    try:
        captured = Captured(network, chips, stream)
        gains = milliseconds(captured, chips, stream) < plain_ms * (1 - LEAST_GAIN)
    except RuntimeError:  # it does something that no graph can hold, or has no room for one
        return network.answer
    return captured if gains else network.answer


def milliseconds(forward: Forward, chips: Tensor, stream: Any) -> float:
    """The shortest of some runs, the first of which sets up."""
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
    """A network's kernels for one size of batch, started as one."""

    def __init__(self, network: Network, chips: Tensor, stream: Any) -> None:
        self._chips = chips.clone()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._answer = network.answer(self._chips)

    def __call__(self, chips: Tensor) -> Tensor:
        """What the network says; a copy, since the next run writes into the same memory."""
        self._chips.copy_(chips)
        self._graph.replay()
        return self._answer.clone()
