"""Real scenes of every CRS, through the whole pipeline: what comes out lies where it belongs.

The network answers with the first band, so the values that come out are the scene's own, which
rasterio reads by itself.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.warp import transform
from torch import nn

from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.inference.products import raster_layouts, write_raster
from tests.inference.networks import card_of, network_of, order_of
from tests.inference.test_dense_tiles import run

NAMES = (
    "l7_etm_olinda_31985_6band.tif",
    "l7_rgb_byte_bahamas_32618.tif",
    "l8_c2l2_colombia_32618_7band.tif",
    "l8_c2l2_greenland_32624_7band.tif",
    "naip_2018_nd_26914_rgbn.tif",
    "s2_b01_missouri_32615.jp2",
    "s2_tci_libya_32634.tif",
    "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif",
    "../odd/dateline_32660.tif",
    "../odd/all_nodata.tif",
    "../odd/corrupt.tif",
)


class First(nn.Module):
    """The first of a chip's bands."""

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        return chips[:, :1].contiguous()


@pytest.mark.parametrize("name", NAMES)
def test_the_values_of_a_scene_come_out_where_rasterio_finds_them(
    sample_data: Path, tmp_path: Path, model: Model, name: str
) -> None:
    path = sample_data / "scenes" / name
    if not path.is_file():
        pytest.skip(f"{name} is not among the sample data")
    card = card_of(model.card, Task.REGRESSION, chip_px=128, halo_px=16)
    card = replace(card, mean=(0.0, 0.0), std=(1.0, 1.0))
    network = network_of(card)
    network.module = First()
    order = order_of(path, tmp_path / "work")
    bands = tuple(Band(1, one, None, order.bands[0].dtype, 1.0) for one in "ab")
    windows = tuple(tile_windows(order.grid, card.tile_unit_px))
    results = run(replace(order, bands=bands, windows=windows), network)
    lost = [result.window for result in results if result.error is not None]
    assert len(lost) == (path.name == "corrupt.tif")
    (layout,) = raster_layouts(card)
    out = tmp_path / "values.tif"
    write_raster(tmp_path / "work", layout, (order.grid, order.grid), card, out, {})
    with rasterio.open(path) as scene, rasterio.open(out) as found:
        assert (found.crs, found.transform, found.shape) == (
            scene.crs,
            scene.transform,
            scene.shape,
        )
        values = found.read(1)
        theirs = np.full(scene.shape, np.nan, np.float32)
        for w in (window for window in windows if window not in lost):
            place = rasterio.windows.Window(w.col_off_px, w.row_off_px, w.width_px, w.height_px)
            there = scene.read_masks(1, window=place) > 0
            theirs[w.row_off_px : w.row_end_px, w.col_off_px : w.col_end_px][there] = scene.read(
                1, window=place
            )[there]
        assert np.allclose(values, theirs, rtol=1e-6, equal_nan=True)
        # And by their places on the Earth, as somebody else would look them up.
        dice = np.random.default_rng(0)
        rows, columns = (dice.integers(0, side, 200) for side in scene.shape)
        xs, ys = scene.transform @ (columns + 0.5, rows + 0.5)
        degrees = transform(scene.crs, "EPSG:4326", xs, ys)
        places = list(zip(*transform("EPSG:4326", found.crs, *degrees), strict=True))
        ours = np.array([one[0] for one in found.sample(places)])
        assert np.allclose(ours, theirs[rows, columns], rtol=1e-6, equal_nan=True)
