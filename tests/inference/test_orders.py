"""What an order can ask for beside tiles and a model: another grid, clouds, scores, vectors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import ConstellationError, ReadFailed
from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.inference.predict import predict
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.inference.work_raster import Product
from tests.inference.conftest import square_tiles
from tests.inference.networks import card_of, network_of, order_of
from tests.inference.test_dense_tiles import raster_of, run
from tests.inference.test_reader import write

CLOUD = 9  # of a Sentinel-2 scene classification
GROUND = 4


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(7).integers(1, 255, (2, 128, 192), np.uint8)
    return write(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64)


@pytest.mark.parametrize("task", [Task.SCENE_CLASSIFICATION, Task.EMBEDDING])
def test_chips_have_scores_and_vectors(
    scene: Path, tmp_path: Path, model: Model, task: Task
) -> None:
    card = replace(card_of(model.card, task, halo_px=0, channels=5), scores=True)
    network, order = network_of(card), order_of(scene, tmp_path / "work")
    results = run(order, network)
    with rasterio.open(scene) as raster:
        pixels = raster.read().astype(np.float32)
    chips = pixels.reshape(2, 4, 32, 6, 32).transpose(1, 3, 0, 2, 4).reshape(24, 2, 32, 32)
    mean, std = (np.array(one, np.float32)[:, None, None] for one in (card.mean, card.std))
    with torch.inference_mode():
        answer = network.module(torch.from_numpy((chips - mean) / std))
    if task is Task.EMBEDDING:
        vectors = raster_of(order, card, Product.EMBEDDING)
        assert np.allclose(vectors.reshape(24, 5), answer.numpy(), atol=1e-4)
        assert all((r.class_counts, r.confidence) == ({}, None) for r in results)
        return
    probability, index = (one.numpy().reshape(4, 6) for one in answer.softmax(1).max(1))
    scores = raster_of(order, card, Product.SCORE)[::32, ::32, 0]
    assert np.abs(scores - 100 * probability).max() < 0.501
    assert (raster_of(order, card, Product.CLASS)[::32, ::32, 0] == 10 * index).all()


def test_chips_without_enough_data_have_no_vector(tmp_path: Path, model: Model) -> None:
    pixels = np.full((2, 64, 64), 50, np.float32)
    pixels[:, :32, :32] = np.nan
    card = card_of(model.card, Task.EMBEDDING, halo_px=0, channels=5)
    order = order_of(write(tmp_path / "a.tif", pixels), tmp_path / "work")
    run(order, network_of(card))
    vectors = raster_of(order, card, Product.EMBEDDING)
    assert np.isnan(vectors[0, 0]).all()
    assert np.isfinite(vectors.reshape(4, 5)[1:]).all()


def masked(order: PredictOrder, tmp_path: Path, mask: NDArray[np.uint8], **say: Any) -> Any:
    height, width = mask.shape
    side = 10 * order.grid.width_px / width
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(side, 0, 5e5, 0, -side, 5e6)}
    size = {"count": 1, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(tmp_path / "scl.tif", "w", driver="GTiff", **size, **place) as raster:
        raster.write(mask, 1)
    quality = QualityMask(QualityKind.SCL, str(tmp_path / "scl.tif"))
    return replace(order, quality=quality, **say)


@pytest.fixture
def clouds() -> NDArray[np.uint8]:
    """A mask of pixels twice as large: six tiles, the first clouded, the second half."""
    mask = np.full((64, 96), GROUND, np.uint8)
    mask[:32, :32] = CLOUD
    mask[:16, 32:64] = CLOUD
    return mask


@pytest.mark.parametrize("task", [Task.SCENE_CLASSIFICATION, Task.SEGMENTATION])
def test_tiles_above_the_stated_cloud_fraction_are_skipped(
    scene: Path, tmp_path: Path, model: Model, clouds: NDArray[np.uint8], task: Task
) -> None:
    card = card_of(model.card, task, halo_px=4 if task is Task.SEGMENTATION else 0)
    plain = order_of(scene, tmp_path / "plain")
    order = masked(order_of(scene, tmp_path / "work"), tmp_path, clouds, max_cloud_fraction=0.5)
    network = network_of(card)
    run(plain, network)
    skipped, *others = run(order, network)
    assert skipped == TileResult(order.windows[0], TileState.SKIPPED, cloud_fraction=1.0)
    assert [result.state for result in others] == [TileState.COMPLETED] * 5
    assert [result.cloud_fraction for result in others] == [0.5, 0, 0, 0, 0]
    found, whole = (raster_of(one, card, Product.CLASS) for one in (order, plain))
    assert (found[:64, :64] == 255).all()
    assert (found[64:] == whole[64:]).all(), "neighbours see what lies below the clouds"


def test_a_mask_alone_skips_nothing_and_is_reported(
    scene: Path, tmp_path: Path, model: Model, clouds: NDArray[np.uint8]
) -> None:
    card = card_of(model.card, Task.SCENE_CLASSIFICATION, halo_px=0)
    order = masked(order_of(scene, tmp_path / "work"), tmp_path, clouds)
    results = run(order, network_of(card))
    assert [result.state for result in results] == [TileState.COMPLETED] * 6
    assert [result.cloud_fraction for result in results] == [1, 0.5, 0, 0, 0, 0]


def test_a_mask_that_is_gone_fails_the_order_with_a_reason(
    scene: Path, tmp_path: Path, model: Model, clouds: NDArray[np.uint8]
) -> None:
    order = masked(order_of(scene, tmp_path / "work"), tmp_path, clouds)
    (tmp_path / "scl.tif").unlink()
    network = network_of(card_of(model.card, Task.SCENE_CLASSIFICATION, halo_px=0))
    with pytest.raises(ConstellationError, match=r"scl\.tif cannot be read"):
        run(order, network)


@pytest.mark.parametrize("task", [Task.SCENE_CLASSIFICATION, Task.SEGMENTATION])
def test_a_scene_is_read_on_the_grid_that_is_asked_for(
    tmp_path: Path, model: Model, task: Task
) -> None:
    """Pixels half as large, each four times: their mean is the original."""
    small = np.random.default_rng(7).integers(1, 255, (2, 128, 192), np.uint8)
    own = order_of(write(tmp_path / "own.tif", small), tmp_path / "one")
    fine = small.repeat(2, 1).repeat(2, 2)
    path = tmp_path / "fine.tif"
    size = {"count": 2, "height": 256, "width": 384, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(5, 0, 5e5, 0, -5, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", **size, **place) as raster:
        raster.write(fine)
    resampled = replace(own, uri=str(path), work=str(tmp_path / "two"))
    card = card_of(model.card, task, halo_px=4 if task is Task.SEGMENTATION else 0)
    network = network_of(card)
    counts = [[r.class_counts for r in run(order, network)] for order in (own, resampled)]
    assert counts[0] == counts[1]
    one, two = (raster_of(order, card, Product.CLASS) for order in (own, resampled))
    assert (one == two).all()


def test_pixels_without_data_stay_without_on_another_grid(tmp_path: Path, model: Model) -> None:
    pixels = np.full((2, 128, 128), 50, np.uint8)
    pixels[:, :64] = 0
    path = write(tmp_path / "a.tif", pixels, nodata=0)
    order = order_of(path, tmp_path / "work")
    coarse = replace(order.grid, transform=(20, 0, 5e5, 0, -20, 5e6), width_px=64, height_px=64)
    order = replace(order, grid=coarse, windows=square_tiles(coarse, 32))
    network = network_of(card_of(model.card, Task.SEGMENTATION))
    assert [result.valid_fraction for result in run(order, network)] == [0, 0, 1, 1]


def test_a_grid_of_another_place_is_refused(scene: Path, tmp_path: Path, model: Model) -> None:
    order = order_of(scene, tmp_path / "work")
    moved = replace(order.grid, transform=(20, 0, 6e5, 0, -20, 5e6), width_px=96, height_px=64)
    order = replace(order, grid=moved, windows=square_tiles(moved, 32))
    network = network_of(card_of(model.card, Task.SEGMENTATION))
    with pytest.raises(ReadFailed, match="has changed"):
        list(predict(order, network, cancelled=lambda: False))
