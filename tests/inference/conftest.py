"""One engine for all tests of this room, and orders for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import torch

from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.scene import Band, Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.protocol import PredictOrder

# As in an engine's lane. A team of threads waits for each other, on a busy machine nearly for ever.
torch.set_num_threads(1)

CHECKOUT = Path(__file__).parent.parent.parent
PACKAGE = CHECKOUT / "models" / "eurosat-landcover" / "1"
ENGINE_START_S = 120.0  # beside busy neighbours


@dataclass(frozen=True)
class RunningEngine:
    """An engine process and a client of it."""

    process: "subprocess.Popen[bytes]"
    socket: Path

    @property
    def client(self) -> EngineClient:
        return EngineClient(self.socket)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def start_engine(folder: Path, simulation: Path | None = None) -> RunningEngine:
    """An engine process of simulated device 0, once it answers."""
    socket = folder / "engine.sock"
    command = [sys.executable, "-m", "constellation_pipelines.inference.engine"]
    command += ["--device", "SIM-1", "--socket", str(socket), "--simulated"]
    if simulation is not None:
        command += ["--simulation", str(simulation)]
    command += ["--preload", str(PACKAGE)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    engine = RunningEngine(subprocess.Popen(command, env=environment), socket)
    deadline = time.monotonic() + ENGINE_START_S
    while True:
        try:
            engine.client.hello()
            return engine
        except EngineFailed:
            assert engine.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """A simulated engine with the committed model loaded."""
    running = start_engine(tmp_path_factory.mktemp("engine"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def model() -> Model:
    """The committed model package."""
    return load_package(PACKAGE)


@pytest.fixture(scope="session")
def network(model: Model) -> Network:
    """The committed network, as an engine holds it."""
    import torch

    return Network(load_module(PACKAGE, model.card), model.card, torch.device("cpu"))


class OrderFactory(Protocol):
    """Makes orders for a raster."""

    def __call__(
        self,
        path: Path,
        *,
        bands: tuple[int, int, int] = (1, 2, 3),
        scale: float | None = None,
        offset: float | None = None,
        tile_px: int = 512,
        name: str = "work",
    ) -> PredictOrder:
        """An order over the whole raster, cut into square tiles."""


@pytest.fixture
def order(tmp_path: Path, model: Model) -> OrderFactory:
    """Makes orders whose working rasters lie in this test's folder."""

    def make(
        path: Path,
        *,
        bands: tuple[int, int, int] = (1, 2, 3),
        scale: float | None = None,
        offset: float | None = None,
        tile_px: int = 512,
        name: str = "work",
    ) -> PredictOrder:
        grid, dtype, nodata = describe(path)
        return PredictOrder(
            run_id="0190-test",
            model_folder=model.folder,
            model_digest=model.digest,
            uri=str(path),
            grid=grid,
            bands=tuple(
                Band(index, colour, colour, dtype, scale, offset)
                for index, colour in zip(bands, COLOURS, strict=True)
            ),
            nodata=nodata,
            windows=square_tiles(grid, tile_px),
            work=str(tmp_path / name),
        )

    return make


def describe(path: Path) -> tuple[Grid, str, float | None]:
    """Grid, type and nodata value of a raster."""
    import rasterio

    with rasterio.open(path) as raster:
        height_px, width_px = raster.block_shapes[0]
        transform = tuple(raster.transform)[:6]
        crs = raster.crs.to_wkt()
        grid = Grid(crs, transform, raster.width, raster.height, width_px, height_px)
        return grid, raster.dtypes[0], raster.nodata


def square_tiles(grid: Grid, tile_px: int) -> tuple[Window, ...]:
    """The grid cut into squares, smaller at the right and lower edge."""
    return tuple(
        Window(top, left, min(tile_px, grid.height_px - top), min(tile_px, grid.width_px - left))
        for top in range(0, grid.height_px, tile_px)
        for left in range(0, grid.width_px, tile_px)
    )
