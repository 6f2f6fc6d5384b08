"""What the machine allows: decoding alone, the loader alone, the network alone.

    python -m benchmarks.engine.limits

A process of its own that answers one question per line, so that it imports and prepares once:
{"order": ..., "question": "decode" | "loader" | "forward" | "plain", "threads": n}. The network is
the one the engine makes of the package, prepared by the same code, in a process whose allocator is
tuned as the engine's is; plain, it is what one would make of it by hand.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engine.counters import cpu_s
from benchmarks.engine.rounds import Timed
from benchmarks.engine.workload import Workload
from constellation_pipelines.inference.allocator import tune_allocator
from constellation_pipelines.inference.protocol import PredictOrder

FORWARD_S = 1.0
BLOCKS_PX = 2048  # how wide the windows are that decoding reads


class Limits:
    """The process that measures them, as the benchmark talks to it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.engine.limits"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, workload: Workload, question: str, threads: int) -> Timed:
        """Decode, loader, forward or plain."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        content = {
            "order": workload.order(Path("unused")).to_json(),
            "question": question,
            "threads": threads,
        }
        self._process.stdin.write(json.dumps(content) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"measuring {question} of {workload.name} failed")
        chips, spent_s, wall_s = json.loads(line)
        return Timed(workload.chips if chips is None else chips, spent_s, wall_s)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def parallel(work: Callable[[int], None], threads: int) -> tuple[float, float]:
    """CPU- and clock seconds of doing a work's parts 0 .. threads - 1 at the same time."""
    began = cpu_s(os.getpid()), time.perf_counter()
    team = [threading.Thread(target=work, args=(part,)) for part in range(threads)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    return cpu_s(os.getpid()) - began[0], time.perf_counter() - began[1]


def decode(order: PredictOrder, threads: int) -> tuple[None, float, float]:
    """Every block once, in windows of 512 rows and 2048 columns, into memory that is used again."""
    import numpy as np
    import rasterio
    from rasterio.windows import Window

    grid, bands = order.grid, [band.index for band in order.bands]
    step = grid.block_height_px

    def part(number: int) -> None:
        # In bytes: nothing is kept, which is quickest where each block is read once.
        with rasterio.Env(GDAL_CACHEMAX=64), rasterio.open(order.uri) as raster:
            held = np.empty((len(bands), step, BLOCKS_PX), raster.dtypes[0])
            for row in range(number * step, grid.height_px, threads * step):
                height = min(step, grid.height_px - row)
                for column in range(0, grid.width_px, BLOCKS_PX):
                    width = min(BLOCKS_PX, grid.width_px - column)
                    place = Window(column, row, width, height)
                    raster.read(bands, window=place, out=held[:, :height, :width])

    return None, *parallel(part, threads)


def loader(order: PredictOrder, _: int) -> tuple[None, float, float]:
    """The engine's own: read, masked and cut into chips, in its order; nothing is inferred."""
    from benchmarks.engine.loading import chips_of

    network = prepared(order)
    began = cpu_s(os.getpid()), time.perf_counter()
    chips_of(order, network)
    return None, cpu_s(os.getpid()) - began[0], time.perf_counter() - began[1]


NETWORKS: dict[str, Any] = {}
PLAIN: dict[str, Any] = {}


def forward(order: PredictOrder, threads: int) -> tuple[int, float, float]:
    """The prepared network alone, one fixed batch over and over, each thread by itself."""
    network = prepared(order)
    return repeated(network.module, network, threads)


def plain(order: PredictOrder, threads: int) -> tuple[int, float, float]:
    """The same network run step by step: folded, in the same type, channels last, no graph."""
    return repeated(plainly_prepared(order), prepared(order), threads)


def repeated(run: Callable[[Any], Any], network: Any, threads: int) -> tuple[int, float, float]:
    """A fixed slice of the network's over and over, in each thread."""
    import torch

    card = network.card
    torch.manual_seed(0)
    side = card.chip_px
    batch = torch.randn(network.slice, len(card.bands), side, side, dtype=network.dtype)
    done = [0] * threads

    def part(number: int) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            until = time.perf_counter() + FORWARD_S
            while time.perf_counter() < until:
                run(batch)
                done[number] += len(batch)

    spent_s, wall_s = parallel(part, threads)
    return sum(done), spent_s, wall_s


def prepared(order: PredictOrder) -> Any:
    """The engine's network, warm."""
    import torch

    from constellation_pipelines.inference.loading import load_module
    from constellation_pipelines.inference.network import Network
    from constellation_pipelines.inference.package import load_package

    if order.model_digest not in NETWORKS:
        torch.set_num_threads(1)
        folder = Path(order.model_folder)
        card = load_package(folder).card
        network = Network(load_module(folder, card), card, torch.device("cpu"))
        network.warm_up()
        NETWORKS[order.model_digest] = network
    return NETWORKS[order.model_digest]


def plainly_prepared(order: PredictOrder) -> Any:
    """The package's network as a module."""
    import torch

    from constellation_pipelines.inference.folding import fold_batch_norms
    from constellation_pipelines.inference.loading import load_module

    if order.model_digest not in PLAIN:
        network = prepared(order)
        module: Any = fold_batch_norms(load_module(Path(order.model_folder), network.card))
        PLAIN[order.model_digest] = module.to(network.dtype, memory_format=torch.channels_last)
    return PLAIN[order.model_digest]


QUESTIONS: dict[str, Callable[[PredictOrder, int], tuple[int | None, float, float]]] = {
    "decode": decode,
    "loader": loader,
    "forward": forward,
    "plain": plain,
}


def main() -> None:
    """Answer questions until there are no more."""
    tune_allocator()
    for line in sys.stdin:
        asked = json.loads(line)
        order = PredictOrder.from_json(asked["order"])
        print(json.dumps(QUESTIONS[asked["question"]](order, asked["threads"])), flush=True)


if __name__ == "__main__":
    main()
