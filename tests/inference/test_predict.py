"""Tiles of a scene through a network."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.predict import Cancelled, predict
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.inference.work_raster import WorkRaster, layouts
from tests.inference.conftest import PACKAGE, OrderFactory
from tests.inference.test_reader import write

NOTHING = 255


def run(order: PredictOrder, network: Network) -> list[TileResult]:
    return list(predict(order, network, cancelled=lambda: False))


def classes_of(order: PredictOrder) -> NDArray[np.uint8]:
    """The working raster as class values."""
    (layout,) = layouts(load_package(PACKAGE).card)
    grid = order.grid
    with WorkRaster(Path(order.work), layout, grid) as raster:
        return raster.read(Window(0, 0, grid.height_px, grid.width_px))[:, :, 0]


def chips_in(results: Iterable[TileResult]) -> Counter[int]:
    total: Counter[int] = Counter()
    for result in results:
        total.update(result.class_counts)
    return total


def test_a_real_scene_gives_the_classes_the_plain_network_finds(
    sample_data: Path, order: OrderFactory, model: Model, network: Network
) -> None:
    asked = order(sample_data / "scenes" / "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif")
    asked = replace(asked, windows=asked.windows[:6])  # the upper 1024 rows
    results = run(asked, network)
    assert [result.window for result in results] == sorted(asked.windows)
    assert all(result.state is TileState.COMPLETED for result in results)
    assert all(result.valid_fraction == 1 for result in results)
    assert all(0.1 < (result.confidence or 0) <= 1 for result in results)
    plain = load_module(PACKAGE, model.card)
    with rasterio.open(asked.uri) as raster:
        pixels = raster.read((1, 2, 3))[:, :1024, :1280]
    chips = pixels.reshape(3, 16, 64, 20, 64).transpose(1, 3, 0, 2, 4).reshape(-1, 3, 64, 64)
    mean = torch.tensor(model.card.mean).view(1, 3, 1, 1)
    std = torch.tensor(model.card.std).view(1, 3, 1, 1)
    with torch.inference_mode():
        values = (torch.from_numpy(chips.copy()).float() / 255 - mean) / std
        expected = plain(values).argmax(1).numpy().reshape(16, 20)
    found = classes_of(asked)[:1024:64, :1280:64]
    assert (found == expected).mean() >= 0.995
    (most_common, _), *_ = chips_in(results).most_common(1)
    assert model.card.classes[most_common].name == "SeaLake"  # a cape and the sea around it


def test_each_chip_is_counted_once_and_painted_over_its_pixels(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(sample_data / "scenes" / "s2_tci_libya_32634.tif")
    counted = chips_in(run(asked, network))
    painted = classes_of(asked)
    cells: Counter[int] = Counter()
    for top in range(0, painted.shape[0], 64):
        for left in range(0, painted.shape[1], 64):
            values = set(np.unique(painted[top : top + 64, left : left + 64]).tolist())
            assert len(values - {NOTHING}) <= 1
            cells.update(values - {NOTHING})
    assert cells == counted


def test_the_way_a_scene_is_cut_into_tiles_does_not_change_its_classes(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    scene = sample_data / "scenes" / "s2_tci_libya_32634.tif"
    large, small = order(scene, name="large"), order(scene, tile_px=192, name="small")
    counts = chips_in(run(large, network)), chips_in(run(small, network))
    assert sum(counts[0].values()) == sum(counts[1].values())
    assert (classes_of(large) == classes_of(small)).all()


def test_tiles_may_come_in_any_order_and_with_gaps(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(sample_data / "scenes" / "s2_tci_libya_32634.tif", tile_px=256)
    some = replace(asked, windows=asked.windows[::-2])
    assert [result.window for result in run(some, network)] == sorted(some.windows)


def test_a_scaled_16_bit_scene_is_taken(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    scene = sample_data / "scenes" / "l8_c2l2_colombia_32618_7band.tif"
    (result,) = run(order(scene, bands=(4, 3, 2), scale=2.75e-5, offset=-0.2), network)
    assert sum(result.class_counts.values()) > 20
    assert 0 < result.valid_fraction < 1


def test_a_bad_block_fails_its_tile_with_the_reason_and_no_other(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(sample_data / "odd" / "corrupt.tif")
    *good, bad = run(asked, network)
    assert [result.state for result in good] == [TileState.COMPLETED] * 3
    assert bad.state is TileState.FAILED
    assert "damaged" in str(bad.error)
    assert (bad.class_counts, bad.confidence) == ({}, None)
    assert (classes_of(asked)[512:, 512:] == NOTHING).all()


def test_a_scene_of_nodata_succeeds_with_no_chip_inferred(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(sample_data / "odd" / "all_nodata.tif", scale=1e-4)
    results = run(asked, network)
    assert len(results) == 5
    for result in results:
        assert result.state is TileState.COMPLETED
        assert (result.class_counts, result.confidence) == ({}, None)
        assert result.valid_fraction == 0
    assert (classes_of(asked) == NOTHING).all()


@pytest.fixture
def holes(tmp_path: Path) -> Path:
    """Reflectance in float32: chips without NaN, with a few, with a majority, with only NaN."""
    pixels = np.full((3, 64, 256), 0.1, np.float32)
    pixels[:, 10:14, 64 + 3 : 64 + 9] = np.nan
    pixels[1, :40, 128:192] = np.nan
    pixels[:, :, 192:] = np.nan
    return write(tmp_path / "holes.tif", pixels)


def test_nan_pixels_get_no_class_and_reach_no_result(
    holes: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(holes, scale=1.0)
    (result,) = run(asked, network)
    assert sum(result.class_counts.values()) == 2
    assert result.confidence is not None
    assert np.isfinite(result.confidence)
    assert result.valid_fraction == pytest.approx((64 * 64 * 2 - 24 + 24 * 64) / (64 * 256))
    painted = classes_of(asked)
    with rasterio.open(holes) as raster:
        nan = np.isnan(raster.read()).any(0)
    assert (painted[nan] == NOTHING).all()
    assert (painted[:, :128][~nan[:, :128]] != NOTHING).all()
    assert (painted[:, 128:] == NOTHING).all()


def test_a_few_holes_do_not_change_a_chips_class(
    holes: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(holes, scale=1.0)
    run(asked, network)
    assert classes_of(asked)[0, 0] == classes_of(asked)[0, 64]


def test_it_stops_once_nobody_wants_the_rest(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(sample_data / "scenes" / "s2_tci_libya_32634.tif", tile_px=256)
    seen: list[TileResult] = []

    def watch() -> None:
        for result in predict(asked, network, cancelled=lambda: len(seen) >= 2):
            seen.append(result)

    with pytest.raises(Cancelled):
        watch()
    assert 2 <= len(seen) < len(asked.windows)


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0, 1099, 1),
        Window(0, 1090, 1, 64),
        Window(-1, 0, 64, 64),
        Window(0, 0, 0, 64),
        Window(64, 64, -64, 64),
    ],
)
def test_a_tile_outside_the_scene_is_refused(
    sample_data: Path, order: OrderFactory, network: Network, window: Window
) -> None:
    asked = order(sample_data / "scenes" / "s2_tci_libya_32634.tif")
    with pytest.raises(InvalidInput, match="does not lie in the scene"):
        run(replace(asked, windows=(window,)), network)


def test_an_order_with_too_few_bands_is_refused(
    sample_data: Path, order: OrderFactory, network: Network
) -> None:
    asked = order(sample_data / "scenes" / "s2_tci_libya_32634.tif")
    with pytest.raises(InvalidInput, match="takes 3 bands, not 2"):
        run(replace(asked, bands=asked.bands[:2]), network)
