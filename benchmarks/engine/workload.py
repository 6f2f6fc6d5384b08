"""What is run: a model over a scene, in words that peers understand too."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.scenes import BANDS, BenchScene
from constellation_pipelines.domain.model import InputUnit, Model
from constellation_pipelines.domain.scene import Band, Grid
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.protocol import PredictOrder

REFLECTANCE_SCALE = 0.0001  # of 16-bit scenes


@dataclass(frozen=True, slots=True)
class Workload:
    """A model over a scene. `peer_chips` is how many chips the slow peer does per visit."""

    name: str
    model: Model
    scene: BenchScene
    grid: Grid
    dtype: str
    peer_chips: int

    @property
    def bands(self) -> tuple[Band, ...]:
        """The scene's bands in the model's order."""
        scale = REFLECTANCE_SCALE if self.dtype == "uint16" else None
        return tuple(
            Band(BANDS.index(band.name) + 1, band.name, band.name, self.dtype, scale, 0.0)
            for band in self.model.card.bands
        )

    @property
    def chips(self) -> int:
        """How many chips the scene has."""
        card = self.model.card
        rows = -(-self.grid.height_px // card.stride_px)
        return rows * -(-self.grid.width_px // card.stride_px)

    def order(self, work: Path, scene: Path | None = None) -> PredictOrder:
        """What the engine is asked for; `scene` where it is another file of the same content."""
        card = self.model.card
        return PredictOrder(
            run_id="benchmark",
            model_folder=self.model.folder,
            model_digest=self.model.digest,
            uri=str(scene or self.scene.path),
            grid=self.grid,
            bands=self.bands,
            nodata=None,
            windows=tuple(tile_windows(self.grid, card.tile_unit_px)),
            work=str(work),
        )

    def unit(self) -> tuple[list[float], list[float], float, float]:
        """Gain and offset per band that lead to the network's unit, and the range it is clipped to.

        Written down here a second time, beside the engine's, so that a mistake there shows.
        """
        card = self.model.card
        if card.input_unit is InputUnit.STORED:
            gains = [1.0] * len(self.bands)
            return gains, [0.0] * len(gains), -np.inf, np.inf
        gains = []
        for band in self.bands:
            true_colour = band.scale is None
            gains.append(1 / 255 if true_colour else (band.scale or 1) / card.reflectance_white)
        return gains, [0.0] * len(gains), 0.0, 1.0

    def for_peers(self, out: Path, chips: int | None) -> dict[str, Any]:
        """The job that a peer's command takes as JSON; `chips` to stop early."""
        card = self.model.card
        gain, offset, low, high = self.unit()
        return {
            "scene": str(self.scene.path),
            "weights": str(Path(self.model.folder) / card.weights_file),
            "architecture": card.architecture,
            "options": card.architecture_options,
            "bands": [band.index for band in self.bands],
            "gain": gain,
            "offset": offset,
            "clip": None if np.isinf(low) else [low, high],
            "mean": list(card.mean),
            "std": list(card.std),
            "values": [found.value for found in card.classes],
            "chip_px": card.chip_px,
            "stride_px": card.stride_px,
            "dense": card.dense,
            "out": str(out),
            "chips": chips,
        }


def workload(name: str, package: Path, scene: BenchScene, peer_chips: int) -> Workload:
    """A package over a scene; the scene's header is read."""
    import rasterio

    with rasterio.open(scene.path) as raster:
        height_px, width_px = raster.block_shapes[0]
        transform = tuple(raster.transform)[:6]
        grid = Grid(
            raster.crs.to_wkt(), transform, raster.width, raster.height, width_px, height_px
        )
        dtype = raster.dtypes[0]
    return Workload(name, load_package(package), scene, grid, dtype, peer_chips)


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """A small file for another process."""
    path.write_text(json.dumps(content))
    return path


def order_file(order: PredictOrder, path: Path) -> Path:
    """An order for the client's process."""
    return write_json(path, order.to_json())
