"""The device as its engine uses it: one batch at a time, in fair turns, its memory measured."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.faulty_device import DeviceLost, FaultyDevice
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.turns import Turns

MEBIBYTE = 2**20
LEAST_CONTEXT_MB = 100
MOST_CONTEXT_MB = 2000  # what is above this belongs to another process

# The declared memory of a simulated device: a context, the weights, and for each chip of a batch
# so many times its input in float32. It is a model, not a measurement.
SIMULATED_CONTEXT_MB = 200
SIMULATED_ACTIVATIONS = 64

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
Answer = TypeVar("Answer")


class Computing:
    """One device. `faulty` is set on a simulated one only."""

    def __init__(self, device: torch.device, faulty: FaultyDevice | None = None) -> None:
        self.device = device
        self.faulty = faulty
        self.turns = Turns()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self.context_mb = context_mb(device)

    @property
    def simulated(self) -> bool:
        """Whether figures of memory are declared, not measured."""
        return self.device.type != "cuda"

    def take(self, work: Callable[[], Answer]) -> Answer:
        """Do work that needs the device, in a turn of its own."""
        with self.turns.turn():
            return self._run(work)

    def _run(self, work: Callable[[], Answer]) -> Answer:
        """Do work on the device's own thread.

        Torch keeps a team of threads and their memory for each thread that calls it; a thread of
        each conversation's own would build them anew, and take twice as long for its first batch.
        """
        return self._thread.submit(work).result()

    def classify(
        self,
        network: Network,
        size: int,
        make: Callable[[], Tensor],
        windows: Iterable[Window],
        announce: Callable[[Iterable[Window]], None],
    ) -> Found:
        """A batch of `size` chips, made by `make`, through a network; waits for its turn.

        `announce` hears whose chips are on the device, and () once they are off it. Raises
        torch.OutOfMemoryError when the batch does not fit, DeviceLost when the device is gone.
        """
        with self.turns.turn():
            windows = tuple(windows)
            announce(windows)
            if self.faulty is not None:
                self.faulty.before_batch(windows, declared_mb(network, size))
            try:
                found = self._run(lambda: self._measured(network, size, make))
            except torch.OutOfMemoryError:
                self._clear()
                raise
            except RuntimeError as error:
                self._clear()
                raise translated(error) from error
            announce(())
        return found

    def _measured(self, network: Network, size: int, make: Callable[[], Tensor]) -> Found:
        """Classify, and note on the network the most memory it took: context and weights too."""
        if self.simulated:
            found = network.classify(make())
            needed_mb = declared_mb(network, size)
        else:
            before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            found = network.classify(make())
            peak = torch.cuda.max_memory_allocated(self.device) - before
            needed_mb = self.context_mb + network.weights_mb + peak / MEBIBYTE
        network.mem_mb = max(network.mem_mb, needed_mb)
        return found

    def _clear(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def probe(self) -> str | None:
        """A small known computation, its result compared: None when right, else what was wrong.

        Whole numbers this small are exact in every float type, so any difference is a fault.
        """
        with self.turns.turn():
            try:
                if self.faulty is not None:
                    self.faulty.before_batch((), 0)
                return self._run(lambda: wrong_arithmetic(self.device) or wrong_memory(self.device))
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

    cuBLAS, cuDNN and the processor's allocator do not raise OutOfMemoryError.
    """
    words = str(error)
    if any(name in words for name in ("ALLOC_FAILED", "can't allocate memory")):
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
