"""The device as its engine uses it: batches in lanes, in fair turns, its memory measured."""

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor  # noqa: TID253

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.batch import Batch
from constellation_pipelines.inference.cuda_lane import CudaLane, gauge_of
from constellation_pipelines.inference.faulty_device import DeviceLost, FaultyDevice
from constellation_pipelines.inference.lanes import Lane, ProcessorLane
from constellation_pipelines.inference.network import CUDA_LANES, MEBIBYTE, Network
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.turns import Turns

LEAST_CONTEXT_MB = 100
MOST_CONTEXT_MB = 2000  # what is above this belongs to another process

NO_ROOM = ("ALLOC_FAILED", "can't allocate memory", "CUDA error: out of memory")

# The declared memory of a simulated device: a context, the weights, and for each chip of a batch
# so many times its input in float32. It is a model, not a measurement.
SIMULATED_CONTEXT_MB = 200
SIMULATED_ACTIVATIONS = 64

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Asked:
    """A batch to infer. `announce` hears whose chips go onto the device (True), and that they are
    off it (False); `size` is what the device has to have room for.
    """

    network: Network
    normaliser: Normaliser
    batch: Batch
    size: int
    announce: Callable[[Iterable[Window], bool], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What the network says of a batch's chips (n, ...), on the device, and the time it took: a
    lane's share of the device's.
    """

    answer: Tensor
    device_ms: float


class Computing:
    """One device. `faulty` is set on a simulated one only.

    Batches are computed in lanes, as many at once as there are: on the processor one thread per
    core, each with one core to itself, because torch's own teams of threads spend half of theirs
    waiting for each other on chips this small; on a GPU two streams.
    """

    def __init__(
        self, device: torch.device, faulty: FaultyDevice | None = None, lanes: int | None = None
    ) -> None:
        self.device = device
        self.faulty = faulty
        cuda = device.type == "cuda"
        self.lanes = lanes or (CUDA_LANES if cuda else len(os.sched_getaffinity(0)))
        self.turns = Turns(self.lanes)
        self.context_mb = context_mb(device)
        if not cuda:
            torch.set_num_threads(1)  # of each lane
        self._lane: Lane = CudaLane(device) if cuda else ProcessorLane()
        self._gauge = gauge_of(device) if cuda else None
        self._threads = ThreadPoolExecutor(self.lanes, thread_name_prefix="lane")

    @property
    def simulated(self) -> bool:
        """Whether figures of memory are declared, not measured."""
        return self.device.type != "cuda"

    @property
    def one_shape(self) -> bool:
        """Whether batches are filled up to the largest: on a GPU, where kernels, and with them the
        last bits of an answer, are chosen by the size of the batch.
        """
        return not self.simulated

    def take(self, work: Callable[[], Answer]) -> Answer:
        """Do work that needs the device, in a turn of its own."""

        def in_turn() -> Answer:
            with self.turns.turn():
                if self._gauge is None:
                    return work()
                self._gauge.begin(work)
                try:
                    return work()
                finally:
                    self._gauge.end()

        return self._threads.submit(in_turn).result()

    def start(self, asked: Asked) -> "Future[Found]":
        """Infer a batch once its turn comes; batches begin in the order in which they are started.

        The result raises torch.OutOfMemoryError when the batch does not fit, DeviceLost when the
        device is gone.
        """
        return self._threads.submit(self._infer, asked)

    def _infer(self, asked: Asked) -> Found:
        with self.turns.turn():
            tiles = asked.batch.tiles
            asked.announce(tiles, True)
            began = time.perf_counter()
            try:
                if self.faulty is not None:
                    self.faulty.before_batch(tiles, declared_mb(asked.network, asked.size))
                answer = self._measured(asked)
            except torch.OutOfMemoryError:
                self._clear()
                raise
            except RuntimeError as error:
                self._clear()
                raise translated(error) from error
            finally:
                spent_ms = 1000 * (time.perf_counter() - began)
                asked.announce(tiles, False)
        return Found(answer, spent_ms / self.lanes)

    def _measured(self, asked: Asked) -> Tensor:
        """Infer, and note on the network the most memory it took: context and weights too."""
        network = asked.network
        if self._gauge is None:
            answer = self._lane.infer(network, asked.normaliser, asked.batch, asked.size)
            network.mem_mb = max(network.mem_mb, declared_mb(network, asked.size))
            return answer
        self._gauge.begin(network)
        try:
            answer = self._lane.infer(network, asked.normaliser, asked.batch, asked.size)
        except Exception:
            self._gauge.end(failed=True)
            raise
        taken_bytes = self._gauge.end()
        if taken_bytes is not None:
            needed_mb = self.context_mb + network.weights_mb + taken_bytes / MEBIBYTE
            network.mem_mb = max(network.mem_mb, needed_mb)
        return answer

    def _clear(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def probe(self) -> str | None:
        """A small known computation, its result compared: None when right, else what was wrong.

        Whole numbers this small are exact in every float type, so any difference is a fault.
        """

        def compute() -> str | None:
            if self.faulty is not None:
                self.faulty.before_batch((), 0)
            return wrong_arithmetic(self.device) or wrong_memory(self.device)

        try:
            return self.take(compute)
        except (RuntimeError, DeviceLost) as error:
            return f"the device fails: {str(error).splitlines()[0]}"


def declared_mb(network: Network, size: int) -> float:
    """What a simulated device says that a batch takes, context and weights included."""
    card = network.card
    chip_bytes = len(card.bands) * card.chip_px * card.chip_px * 4 * SIMULATED_ACTIVATIONS
    return SIMULATED_CONTEXT_MB + network.weights_mb + size * chip_bytes / MEBIBYTE


def context_mb(device: torch.device) -> float:
    """What the process takes of its device before any tensor."""
    if device.type != "cuda":
        return SIMULATED_CONTEXT_MB
    torch.zeros(1, device=device)
    free, total = torch.cuda.mem_get_info(device)
    used_mb = (total - free - torch.cuda.memory_reserved(device)) / MEBIBYTE
    return min(max(used_mb, LEAST_CONTEXT_MB), MOST_CONTEXT_MB)


def translated(error: RuntimeError) -> Exception:
    """What a RuntimeError of torch means: no memory, a device that is gone, or itself.

    cuBLAS, cuDNN and the processor's allocator do not raise OutOfMemoryError, nor does what pins
    memory of the host or makes a graph.
    """
    words = str(error)
    if any(name in words for name in NO_ROOM):
        return torch.OutOfMemoryError(words)
    if "CUDA error" in words:  # the context is broken, whatever came before
        return DeviceLost(words)
    return error


def wrong_arithmetic(device: torch.device) -> str | None:
    """Multiply two matrices of small whole numbers."""
    side = 256
    rows = np.arange(side * side, dtype=np.int64).reshape(side, side)
    left, right = rows % 7 - 3, (rows * 5 + 1) % 9 - 4
    product = torch.from_numpy(left).float().to(device) @ torch.from_numpy(right).float().to(device)
    if np.array_equal(product.cpu().numpy().astype(np.int64), left @ right):
        return None
    return "a product of two matrices came out wrong"


def wrong_memory(device: torch.device, size_mb: int = 64) -> str | None:
    """Write patterns into memory and read them back."""
    for pattern in (0x55, 0xAA):
        written = torch.full((size_mb * MEBIBYTE,), pattern, dtype=torch.uint8, device=device)
        if not bool((written == pattern).all()):
            return "memory did not keep what was written to it"
    return None
