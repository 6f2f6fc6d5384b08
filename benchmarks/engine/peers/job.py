"""What both peers need: the job, the network as it was trained, normalising, the class map."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from safetensors.torch import load_file
from torch import Tensor, nn

from constellation_pipelines.inference.architectures import build


class Job:
    """A scene, a network and the chips to do; `Workload.for_peers` writes its file."""

    def __init__(self, path: Path) -> None:
        content: dict[str, Any] = json.loads(path.read_text())
        self.scene = Path(content["scene"])
        self.architecture: str = content["architecture"]
        self.options: dict[str, Any] = content["options"]
        self.weights: str = content["weights"]
        self.bands: list[int] = content["bands"]
        self.clip: list[float] | None = content["clip"]
        self.chip_px: int = content["chip_px"]
        self.stride_px: int = content["stride_px"]
        self.dense: bool = content["dense"]
        self.out = Path(content["out"])
        self.most: int | None = content["chips"]
        self.values = torch.tensor(content["values"], dtype=torch.uint8)
        self._columns = {
            name: torch.tensor(content[name]).view(1, -1, 1, 1)
            for name in ("gain", "offset", "mean", "std")
        }
        with rasterio.open(self.scene) as scene:
            self.height_px, self.width_px = scene.shape
            self.transform = scene.transform
            self.crs = scene.crs
        self.columns: int = -(-self.width_px // self.stride_px)
        rows: int = -(-self.height_px // self.stride_px)
        if self.most is not None:
            rows = min(rows, max(1, self.most // self.columns))
        self.rows = rows

    def network(self) -> nn.Module:
        """In eval mode, float32."""
        network = build(self.architecture, self.options)
        network.load_state_dict(load_file(self.weights))
        return network.eval()

    def normalised(self, chips: Tensor) -> Tensor:
        """Stored values in float32 -> what the network expects."""
        parts = self._columns
        chips = chips * parts["gain"] + parts["offset"]
        if self.clip is not None:
            chips = chips.clamp(*self.clip)
        return (chips - parts["mean"]) / parts["std"]

    @property
    def halo_px(self) -> int:
        """What a chip sees beyond its own pixels, on each side."""
        return (self.chip_px - self.stride_px) // 2


class ClassMap:
    """The classes of the rows that are done, written as a tiled GeoTIFF at the end."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._height_px = min(job.rows * job.stride_px, job.height_px)
        self._pixels: NDArray[np.uint8] = np.full((self._height_px, job.width_px), 255, np.uint8)

    def put(self, row: int, column: int, classes: NDArray[np.uint8]) -> None:
        """One chip's class, or its classes (px, px), of which the halo is dropped."""
        side, halo = self._job.stride_px, self._job.halo_px
        part = self._pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
        if classes.ndim:
            classes = classes[halo : halo + part.shape[0], halo : halo + part.shape[1]]
        part[:] = classes

    def write(self) -> None:
        """512-pixel blocks, DEFLATE."""
        job = self._job
        with rasterio.open(
            job.out,
            "w",
            driver="GTiff",
            width=job.width_px,
            height=self._height_px,
            count=1,
            dtype="uint8",
            crs=job.crs,
            transform=job.transform,
            nodata=255,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            compress="DEFLATE",
        ) as out:
            for top in range(0, self._height_px, 512):
                strip = self._pixels[top : top + 512]
                out.write(strip, 1, window=Window(0, top, job.width_px, len(strip)))


def measured(job: Job, run: Any, what: str) -> None:
    """Run once, warm, and print what it took as one line of JSON."""
    cpu_s, wall_s = sum(os.times()[:4]), time.perf_counter()
    chips = run()
    took = {
        "chips": chips,
        "cpu_s": sum(os.times()[:4]) - cpu_s,
        "wall_s": time.perf_counter() - wall_s,
        "what": what,
    }
    print(json.dumps(took))


def job_of_command_line() -> Job:
    """The job whose file is the only argument."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} JOB.json")
    return Job(Path(sys.argv[1]))
