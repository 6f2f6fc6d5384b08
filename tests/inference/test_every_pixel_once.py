"""A run's raster: every pixel written once, and the same to the bit however the run goes.

All kinds of models, in float32. Devices are lanes and orders of their own here, all on the
processor.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference import predict
from constellation_pipelines.inference.computing import Computing
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.inference.work_raster import WorkRaster, layouts
from tests.inference.networks import CPU, card_of, network_of, order_of
from tests.inference.test_reader import write

HEIGHT_PX, WIDTH_PX = 150, 215
TASKS = (Task.SCENE_CLASSIFICATION, Task.SEGMENTATION, Task.REGRESSION, Task.EMBEDDING)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bands of noise, of no round size, with a corner that holds no data."""
    pixels = np.random.default_rng(7).integers(1, 255, (2, HEIGHT_PX, WIDTH_PX), np.uint8)
    pixels[:, 100:, :70] = 0
    path = tmp_path_factory.mktemp("scene") / "a.tif"
    return write(path, pixels, tiled=True, blockxsize=32, blockysize=32, nodata=0)


@pytest.fixture(params=TASKS, ids=[task.value for task in TASKS])
def network(model: Model, request: pytest.FixtureRequest) -> Network:
    """Chips of 32 px; those of dense models see 4 px more on each side."""
    task: Task = request.param
    dense = task in (Task.SEGMENTATION, Task.REGRESSION)
    card = card_of(model.card, task, halo_px=4 if dense else 0)
    ranked = task in (Task.SCENE_CLASSIFICATION, Task.SEGMENTATION)
    return network_of(replace(card, scores=ranked))


def run(order: PredictOrder, network: Network, lanes: int = 2) -> list[TileResult]:
    device = Computing(CPU, lanes=lanes)
    return list(predict.predict(order, network, cancelled=lambda: False, device=device))


def maps(order: PredictOrder, network: Network) -> dict[str, bytes]:
    """Every product, whole, as bytes: NaN is NaN."""
    found = {}
    for layout in layouts(network.card):
        with WorkRaster(Path(order.work), layout, order.grid) as raster:
            found[layout.product.value] = raster.read(Window(0, 0, HEIGHT_PX, WIDTH_PX)).tobytes()
    return found


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    tile=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    batch=st.sampled_from([1, 2, 8, None]),
    lanes=st.integers(1, 3),
    backwards=st.booleans(),
)
def test_the_map_is_the_same_whatever_tiles_batches_lanes_and_order(
    scene: Path,
    tmp_path_factory: pytest.TempPathFactory,
    network: Network,
    tile: tuple[int, int],
    batch: int | None,
    lanes: int,
    backwards: bool,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    first = order_of(scene, folder / "first")
    run(first, network)
    tiles = tiles_of(32 * tile[0], 32 * tile[1])
    other = replace(
        order_of(scene, folder / "other"),
        windows=tiles[::-1] if backwards else tiles,
        batch=batch,
    )
    run(other, network, lanes)
    assert maps(other, network) == maps(first, network)


def tiles_of(height_px: int, width_px: int) -> tuple[Window, ...]:
    return tuple(
        Window(top, left, min(height_px, HEIGHT_PX - top), min(width_px, WIDTH_PX - left))
        for top in range(0, HEIGHT_PX, height_px)
        for left in range(0, WIDTH_PX, width_px)
    )


def test_two_devices_and_an_interruption_change_nothing(
    scene: Path, tmp_path: Path, network: Network
) -> None:
    whole, parts = order_of(scene, tmp_path / "whole"), order_of(scene, tmp_path / "parts")
    expected = untimed(run(whole, network))
    begun = predict.predict(parts, network, cancelled=lambda: False, device=Computing(CPU, lanes=2))
    done = [next(begun), next(begun)]
    begun.close()  # type: ignore[attr-defined]
    rest = [window for window in parts.windows if window not in {one.window for one in done}]
    for windows in (rest[::2], rest[1::2]):
        done += run(replace(parts, windows=tuple(windows)), network)
    assert untimed(done) == expected
    assert maps(parts, network) == maps(whole, network)


def untimed(results: list[TileResult]) -> dict[Window, TileResult]:
    return {one.window: replace(one, read_ms=0, infer_ms=0) for one in results}


class Counting(WorkRaster):
    """Counts how often each cell is written."""

    written: ClassVar[dict[str, NDArray[np.int64]]] = {}

    def write(self, window: Window, values: NDArray[Any]) -> None:
        rows, columns = self.layout.cells(window)
        self.written.setdefault(self.layout.product.value, np.zeros(self._shape[:2], np.int64))[
            rows, columns
        ] += 1
        super().write(window, values)


@pytest.mark.parametrize(("height_px", "width_px"), [(64, 64), (32, 96), (160, 32), (192, 224)])
def test_every_pixel_is_written_exactly_once(
    scene: Path,
    tmp_path: Path,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    height_px: int,
    width_px: int,
) -> None:
    Counting.written = {}
    monkeypatch.setattr(predict, "WorkRaster", Counting)
    order = replace(order_of(scene, tmp_path / "work"), windows=tiles_of(height_px, width_px))
    run(order, network)
    assert set(Counting.written) == {layout.product.value for layout in layouts(network.card)}
    assert all((count == 1).all() for count in Counting.written.values())
