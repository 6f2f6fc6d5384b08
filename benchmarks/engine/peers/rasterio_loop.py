"""A loop over a raster as a good engineer tunes it by hand, with rasterio and torch alone.

    .venv-peers/bin/python -m benchmarks.engine.peers.rasterio_loop JOB.json

Blocks are decoded once, in strips that are read ahead by a thread. Chips are cut by numpy, in
batches of 64 chips of 64 px. The network has its batch norms folded in, is in bfloat16 and channels
last, and runs in inference mode, by one thread per core with no threads inside: more chips per
CPU-second than with torch's own threads. The class map is written at the end.
"""

import os
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch.fx.experimental.optimization import fuse

from benchmarks.engine.peers.job import ClassMap, Job, job_of_command_line, measured

BATCH_PX = 64 * 64 * 64
STRIPS_AHEAD = 2
BLOCK_CACHE_BYTES = 256 << 20  # rasterio takes bytes here
BLOCK_PX = 512

Strip = tuple[int, NDArray[Any]]  # first row of chips, chips (rows, columns, bands, px, px)


def strips(job: Job) -> Iterator[Strip]:
    """Chips, some rows of them at a time, each block decoded once."""
    rows_at_once = max(1, BLOCK_PX // job.stride_px)
    halo = job.halo_px
    # Only strips that overlap share blocks; the others are read quicker if none is kept.
    kept = BLOCK_CACHE_BYTES if halo else 1 << 16
    with (
        rasterio.Env(GDAL_CACHEMAX=kept),
        rasterio.open(job.scene) as scene,
    ):
        for row in range(0, job.rows, rows_at_once):
            rows = min(rows_at_once, job.rows - row)
            top = row * job.stride_px - halo
            height = (rows - 1) * job.stride_px + job.chip_px
            first, last = max(top, 0), min(top + height, job.height_px)
            window = Window(0, first, job.width_px, last - first)
            pixels = scene.read(job.bands, window=window)
            width = (job.columns - 1) * job.stride_px + job.chip_px
            edges = (
                (0, 0),
                (first - top, top + height - last),
                (halo, width - halo - job.width_px),
            )
            if any(before or after for before, after in edges):
                pixels = np.pad(pixels, edges, mode="symmetric")
            yield row, cut(pixels, job)


def cut(pixels: NDArray[Any], job: Job) -> NDArray[Any]:
    """A view (rows, columns, bands, px, px) of a strip's chips."""
    side = (job.chip_px, job.chip_px)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, side, axis=(1, 2))
    return windows[:, :: job.stride_px, :: job.stride_px].transpose(1, 2, 0, 3, 4)


def ahead(source: Iterator[Strip]) -> Iterator[Strip]:
    """The same strips, read by a thread."""
    ready: queue.Queue[Strip | None] = queue.Queue(STRIPS_AHEAD)

    def read() -> None:
        for strip in source:
            ready.put(strip)
        ready.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (strip := ready.get()) is not None:
        yield strip


def main() -> None:
    job = job_of_command_line()
    torch.set_num_threads(1)
    network: Any = fuse(job.network()).to(torch.bfloat16)
    network = network.to(memory_format=torch.channels_last)
    batch = max(1, BATCH_PX // job.chip_px**2)

    @torch.inference_mode()
    def infer(chips: NDArray[Any]) -> NDArray[np.uint8]:
        stored = torch.from_numpy(np.ascontiguousarray(chips)).to(torch.float32)
        inputs = job.normalised(stored).to(torch.bfloat16)
        scores = network(inputs.contiguous(memory_format=torch.channels_last))
        classes: NDArray[np.uint8] = job.values[scores.argmax(1)].numpy()
        return classes

    def run() -> int:
        out = ClassMap(job)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for row, chips in ahead(strips(job)):
                rows, columns = chips.shape[:2]
                flat = chips.reshape(rows * columns, *chips.shape[2:])
                parts = [flat[i : i + batch] for i in range(0, len(flat), batch)]
                place = 0
                for classes in threads.map(infer, parts):
                    for one in classes:
                        out.put(row + place // columns, place % columns, one)
                        place += 1
        out.write()
        return job.rows * job.columns

    infer(np.zeros((batch, len(job.bands), job.chip_px, job.chip_px), np.uint16))
    measured(job, run, "rasterio loop, tuned by hand")


if __name__ == "__main__":
    main()
