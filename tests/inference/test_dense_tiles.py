"""Models that answer per pixel."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from constellation_pipelines.domain.model import Model, ModelCard, Task
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.stitch import Axis
from constellation_pipelines.inference.computing import Computing
from constellation_pipelines.inference.dense_plan import sampled, samples_within, within
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.predict import predict
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.inference.work_raster import Product, WorkRaster, layouts
from tests.inference.networks import CPU, card_of, network_of, order_of
from tests.inference.test_reader import write

NOTHING = 255


def run(order: PredictOrder, network: Network, lanes: int = 2) -> list[TileResult]:
    device = Computing(CPU, lanes=lanes)
    return list(predict(order, network, cancelled=lambda: False, device=device))


def raster_of(order: PredictOrder, card: ModelCard, product: Product) -> NDArray[Any]:
    """The whole of a working raster (rows, columns, channels)."""
    (layout,) = (one for one in layouts(card) if one.product is product)
    with WorkRaster(Path(order.work), layout, order.grid) as raster:
        return raster.read(Window(0, 0, order.grid.height_px, order.grid.width_px))


def classes_of(order: PredictOrder, card: ModelCard) -> NDArray[np.uint8]:
    return raster_of(order, card, Product.CLASS)[:, :, 0]


def expected(path: Path, network: Network) -> NDArray[np.float64]:
    """Blended numbers or logits (channels, height, width), by the definition and in float64."""
    card = network.card
    with rasterio.open(path) as scene:
        pixels = scene.read().astype(np.float32)
    _, height, width = pixels.shape
    rows, columns = (Axis(side, card.chip_px, card.halo_px) for side in (height, width))
    mean, std = (np.array(one, np.float32)[:, None, None] for one in (card.mean, card.std))
    total = np.zeros((card.channels, height, width))
    for row in range(rows.count):
        for column in range(columns.count):
            (top, bottom), (left, right) = rows.inside(row), columns.inside(column)
            above, before = top - rows.seen(row)[0], left - columns.seen(column)[0]
            below = card.chip_px - above - (bottom - top)
            after = card.chip_px - before - (right - left)
            edges = ((0, 0), (above, below), (before, after))
            chip = np.pad(pixels[:, top:bottom, left:right], edges, mode="symmetric")
            with torch.inference_mode():
                found = network.module(torch.from_numpy((chip - mean) / std)[None])[0]
            answer = found.double().numpy()
            (first, last), (start, end) = rows.used(row), columns.used(column)
            weights = np.outer(rows.weights(row), columns.weights(column))
            seen = answer[
                :,
                first - rows.seen(row)[0] : last - rows.seen(row)[0],
                start - columns.seen(column)[0] : end - columns.seen(column)[0],
            ]
            total[:, first:last, start:end] += weights * seen
    return total


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Two bands of noise, of no round size, in blocks of 64 px."""
    pixels = np.random.default_rng(7).integers(1, 255, (2, 150, 215), np.uint8)
    return write(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64)


@pytest.fixture
def segmenter(model: Model) -> Network:
    return network_of(replace(card_of(model.card, Task.SEGMENTATION), scores=True))


@pytest.mark.parametrize(("chip_px", "halo_px"), [(32, 4), (32, 0), (32, 12), (48, 8), (256, 32)])
def test_each_pixel_has_the_best_class_of_its_chips_weighted_mean(
    scene: Path, tmp_path: Path, model: Model, chip_px: int, halo_px: int
) -> None:
    card = card_of(model.card, Task.SEGMENTATION, chip_px=chip_px, halo_px=halo_px)
    network = network_of(replace(card, scores=True))
    order = order_of(scene, tmp_path / "work")
    results = run(order, network)
    means = expected(scene, network)
    found = classes_of(order, network.card)
    near = np.sort(means, 0)[-1] - np.sort(means, 0)[-2] < 1e-5  # float32 may decide otherwise
    assert near.mean() < 0.01
    assert (found[~near] == 10 * means.argmax(0)[~near]).all()
    scores = raster_of(order, network.card, Product.SCORE)[:, :, 0]
    chances = 1 / np.exp(means - means.max(0)).sum(0)
    assert np.abs(scores - 100 * chances).max() < 0.501
    assert sum(sum(result.class_counts.values()) for result in results) == found.size
    for result in results:
        w = result.window  # each begins at a multiple of the sample's step
        rows, columns = slice(w.row_off_px, w.row_end_px, 4), slice(w.col_off_px, w.col_end_px, 4)
        assert result.confidence == pytest.approx(chances[rows, columns].mean(), abs=1e-5)


def test_samples_are_the_scenes_whatever_the_windows() -> None:
    scene = np.arange(60 * 70).reshape(60, 70)
    for outer, inner in (
        (Window(3, 5, 41, 50), Window(7, 5, 20, 11)),
        (Window(8, 4, 30, 30), Window(8, 4, 30, 30)),
        (Window(0, 0, 60, 70), Window(57, 69, 2, 1)),  # holds none
    ):
        seen = scene[within(outer, Window(0, 0, 60, 70))][sampled(outer)]
        found = seen[samples_within(inner, outer)]
        part = scene[within(inner, Window(0, 0, 60, 70))]
        assert (
            found == part[(part // 70 % 4 == 0) & (part % 70 % 4 == 0)].reshape(found.shape)
        ).all()
        assert (found == part[sampled(inner)]).all()


def in_one(order: PredictOrder) -> PredictOrder:
    whole = Window(0, 0, order.grid.height_px, order.grid.width_px)
    return replace(order, windows=(whole,))


def backwards(order: PredictOrder) -> PredictOrder:
    return replace(order, windows=order.windows[::-1])


def in_small_batches(order: PredictOrder) -> PredictOrder:
    return replace(order, batch=2)


def in_odd_tiles(order: PredictOrder) -> PredictOrder:
    tiles = [Window(r, c, min(37, 150 - r), min(50, 215 - c)) for r in range(0, 150, 37)
             for c in range(0, 215, 50)]  # fmt: skip
    return replace(order, windows=tuple(tiles))


@pytest.mark.parametrize("change", [in_one, backwards, in_small_batches, in_odd_tiles])
def test_the_map_is_the_same_to_the_bit_however_it_is_cut(
    scene: Path,
    tmp_path: Path,
    segmenter: Network,
    change: Callable[[PredictOrder], PredictOrder],
) -> None:
    first = order_of(scene, tmp_path / "first")
    other = change(order_of(scene, tmp_path / "other"))
    run(first, segmenter, lanes=1)
    run(other, segmenter, lanes=3)
    for product in (Product.CLASS, Product.SCORE):
        one, two = (raster_of(order, segmenter.card, product) for order in (first, other))
        assert (one == two).all()


def test_two_devices_and_an_interruption_give_the_same_map(
    scene: Path, tmp_path: Path, segmenter: Network
) -> None:
    """Several orders for parts of the tiles write into one raster, one of them cut short."""
    whole, parts = order_of(scene, tmp_path / "whole"), order_of(scene, tmp_path / "parts")
    counts = [result.class_counts for result in run(whole, segmenter)]
    begun = predict(parts, segmenter, cancelled=lambda: False, device=Computing(CPU, lanes=2))
    done = [next(begun), next(begun)]
    begun.close()  # type: ignore[attr-defined]
    rest = tuple(w for w in parts.windows if w not in {result.window for result in done})
    found = {result.window: result for result in done}
    for windows in (rest[::2], rest[1::2]):
        found |= {r.window: r for r in run(replace(parts, windows=windows), segmenter)}
    assert [found[window].class_counts for window in sorted(found)] == counts
    assert (classes_of(whole, segmenter.card) == classes_of(parts, segmenter.card)).all()


def test_tiles_that_nobody_asked_for_are_left_alone(
    scene: Path, tmp_path: Path, segmenter: Network
) -> None:
    order = order_of(scene, tmp_path / "some")
    whole = order_of(scene, tmp_path / "whole")
    some = replace(order, windows=(order.windows[0], order.windows[5], order.windows[-1]))
    run(whole, segmenter)
    run(some, segmenter)
    found = classes_of(some, segmenter.card)
    asked = np.zeros(found.shape, np.bool_)
    for w in some.windows:
        asked[w.row_off_px : w.row_end_px, w.col_off_px : w.col_end_px] = True
    assert (found[asked] == classes_of(whole, segmenter.card)[asked]).all()
    assert (found[~asked] == NOTHING).all()


def test_each_chip_is_inferred_once(scene: Path, tmp_path: Path, segmenter: Network) -> None:
    seen: list[int] = []
    plain = segmenter.module

    def counting(chips: torch.Tensor) -> torch.Tensor:
        seen.append(int((chips[:, 0].flatten(1).std(1) > 0).sum()))  # what fills up a slice is flat
        return plain(chips)

    segmenter.module = counting
    run(order_of(scene, tmp_path / "work"), segmenter)
    assert sum(seen) == -(-150 // 24) * -(-215 // 24)


def test_numbers_of_a_regression_are_blended_and_summed_up(
    scene: Path, tmp_path: Path, model: Model
) -> None:
    network = network_of(card_of(model.card, Task.REGRESSION))
    order = order_of(scene, tmp_path / "work")
    results = run(order, network)
    values = raster_of(order, network.card, Product.VALUE)[:, :, 0]
    assert np.allclose(values, expected(scene, network)[0], atol=1e-5)
    for result in results:
        w = result.window
        part = values[w.row_off_px : w.row_end_px, w.col_off_px : w.col_end_px].astype(np.float64)
        assert result.statistics == pytest.approx(
            {"min": part.min(), "max": part.max(), "mean": part.mean(), "std": part.std()}
        )
        assert (result.class_counts, result.confidence) == ({}, None)


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """Float pixels: a tile without data, NaN and infinity in the others."""
    pixels = np.random.default_rng(7).random((2, 128, 192)).astype(np.float32) * 200
    pixels[:, 64:, :64] = np.nan
    pixels[0, 5, 70:90] = np.nan
    pixels[1, 100, 100] = np.inf
    return write(tmp_path / "holes.tif", pixels, tiled=True, blockxsize=64, blockysize=64)


@pytest.mark.parametrize("task", [Task.SEGMENTATION, Task.REGRESSION])
def test_pixels_without_data_get_nothing_and_reach_no_figure(
    holed: Path, tmp_path: Path, model: Model, task: Task
) -> None:
    network = network_of(card_of(model.card, task))
    order = order_of(holed, tmp_path / "work")
    results = {(r.window.row_off_px, r.window.col_off_px): r for r in run(order, network)}
    with rasterio.open(holed) as raster:
        valid = np.isfinite(raster.read()).all(0)
    product = Product.CLASS if task is Task.SEGMENTATION else Product.VALUE
    found = raster_of(order, network.card, product)[:, :, 0]
    filled = found != NOTHING if task is Task.SEGMENTATION else np.isfinite(found)
    assert (filled == valid).all()
    empty = results[64, 0]
    assert empty.state is TileState.COMPLETED
    assert (empty.valid_fraction, empty.confidence, empty.statistics) == (0, None, None)
    assert sum(r.valid_fraction for r in results.values()) / 6 == pytest.approx(valid.mean())
    for result in results.values():
        figures = [*(result.statistics or {}).values(), result.confidence or 0]
        assert np.isfinite(figures).all()


def test_a_network_that_answers_nonsense_leaves_no_nan_in_the_figures(
    scene: Path, tmp_path: Path, model: Model
) -> None:
    network = network_of(card_of(model.card, Task.REGRESSION))
    plain = network.module
    network.module = lambda chips: plain(chips).masked_fill_(chips[:, :1] > 1.5, torch.nan)
    results = run(order_of(scene, tmp_path / "work"), network)
    assert all(np.isfinite(list((r.statistics or {}).values())).all() for r in results)


def test_a_bad_block_costs_its_tile_and_no_neighbour(
    sample_data: Path, tmp_path: Path, segmenter: Network
) -> None:
    order = order_of(sample_data / "odd" / "corrupt.tif", tmp_path / "work", tile_px=512)
    *good, bad = run(order, segmenter)
    assert [result.state for result in good] == [TileState.COMPLETED] * 3
    assert all(result.valid_fraction == 1 for result in good)
    assert bad.state is TileState.FAILED
    assert "damaged" in str(bad.error)
    found = classes_of(order, segmenter.card)
    assert (found[512:, 512:] == NOTHING).all()
    assert (found[:512] != NOTHING).all()


def test_only_the_rows_that_are_shared_are_kept(tmp_path: Path, segmenter: Network) -> None:
    """Two tiles at the two ends of a tall raster: what lies between is neither read nor held."""
    pixels = np.random.default_rng(7).integers(1, 255, (2, 4096, 64), np.uint8)
    path = write(tmp_path / "tall.tif", pixels, tiled=True, blockxsize=64, blockysize=64)
    read: list[Window] = []

    class Listener:
        def reading(self, windows: Any) -> None:
            read.extend(windows)

        def computing(self, windows: Any) -> None: ...
        def halved(self, refused: int, batch: int) -> None: ...

    order = order_of(path, tmp_path / "work")
    ends = replace(order, windows=(order.windows[0], order.windows[-1]))
    results = list(predict(ends, segmenter, cancelled=lambda: False, listener=Listener()))
    assert [result.state for result in results] == [TileState.COMPLETED] * 2
    assert set(read) == set(ends.windows)
