"""How many decoded blocks are kept."""

import threading
from pathlib import Path
from typing import Any

import pytest
import rasterio

from constellation_pipelines.imagery.block_cache import (
    LEAST_BYTES,
    MOST_BYTES,
    OF_ONE_READ_BYTES,
    block_cache,
    limit,
    needed_bytes,
)
from constellation_pipelines.imagery.grid import describe_grid
from constellation_pipelines.imagery.raster import open_raster
from tests.imagery import rasters
from tests.inference.conftest import square_tiles


def test_what_all_ask_for_is_added_up_and_the_limit_comes_back() -> None:
    before = limit()
    with block_cache(1_000_000):
        assert limit() == 1_000_000
        with block_cache(2_000_000), block_cache(0):
            assert limit() == 3_000_000
        assert limit() == 1_000_000
        with rasterio.Env(GDAL_NUM_THREADS=1):
            assert limit() == 1_000_000
        assert limit() == 1_000_000
    assert limit() == before


def test_there_is_a_least_and_a_most() -> None:
    with block_cache(0):
        assert limit() == LEAST_BYTES
        with block_cache(MOST_BYTES), block_cache(MOST_BYTES):
            assert limit() == MOST_BYTES


def test_it_holds_for_threads_that_come_and_go() -> None:
    before = limit()
    entered, leave = threading.Barrier(9), threading.Event()

    def use(number: int) -> None:
        with block_cache(1_000_000 + number):
            entered.wait(60)
            leave.wait(60)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    entered.wait(60)
    assert limit() == 8_000_028
    leave.set()
    for thread in threads:
        thread.join()
    assert limit() == before


@pytest.mark.parametrize(
    ("profile", "tile_px", "needed"),
    [
        ({"tiled": True, "blockxsize": 256, "blockysize": 256}, 512, 0),
        ({"tiled": True, "blockxsize": 256, "blockysize": 256}, 224, 512 * 1000),
        ({"blockysize": 8}, 512, 520 * 1000),
        ({"blockysize": 1}, 512, 512 * 1000),
    ],
    ids=["whole blocks", "cut blocks", "strips", "lines"],
)
def test_a_row_of_tiles_is_kept_where_tiles_share_blocks(
    tmp_path: Path, profile: dict[str, Any], tile_px: int, needed: int
) -> None:
    path = rasters.write(tmp_path / "a.tif", side_px=1000, count=1, **profile)
    with open_raster(path) as raster:
        grid = describe_grid(raster)
        found = needed_bytes(raster, grid, square_tiles(grid, tile_px))
        assert needed <= found <= 1.6 * needed  # a block's own record counts too
        assert needed_bytes(raster, grid, ()) == 0


def test_all_bands_of_a_read_are_kept_of_a_jpeg2000(sample_data: Path) -> None:
    path = sample_data / "scenes" / "s2_b01_missouri_32615.jp2"
    with open_raster(path) as raster:
        grid = describe_grid(raster)
        whole = square_tiles(grid, grid.block_width_px)
        assert needed_bytes(raster, grid, whole) == OF_ONE_READ_BYTES
