"""Reading tiles."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.errors import ConstellationError, ReadFailed
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.ahead import Ahead
from constellation_pipelines.inference.reader import (
    LARGEST_READ_BYTES,
    Tile,
    extent,
    group_reads,
    read_group,
    read_tiles,
)
from constellation_pipelines.inference.source import ReadOrder, open_source, validity
from tests.inference.conftest import describe, square_tiles


def write(path: Path, pixels: np.ndarray[Any, Any], **profile: Any) -> Path:
    bands, height_px, width_px = pixels.shape
    size = {"count": bands, "height": height_px, "width": width_px, "dtype": pixels.dtype}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **profile) as raster:
        raster.write(pixels)
    return path


def order(path: Path, bands: tuple[int, ...], tile_px: int = 512) -> ReadOrder:
    grid, _, nodata = describe(path)
    return ReadOrder(path, grid, bands, nodata, square_tiles(grid, tile_px))


def groups(to_read: ReadOrder) -> Iterator[list[Tile]]:
    with open_source(to_read) as source:
        yield from read_tiles(source, to_read.windows)


def read(to_read: ReadOrder) -> list[Tile]:
    with Ahead(lambda: groups(to_read)) as reader:
        return [tile for group in reader for tile in group]


tiles = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 40)), unique=True, min_size=1, max_size=60
).map(lambda places: [Window(512 * r, 512 * c, 512, 512) for r, c in places])


@given(tiles, st.sampled_from([1, 3, 8, 64]))
def test_each_tile_is_read_once_beside_its_neighbours_within_the_limit(
    windows: list[Window], bytes_per_px: int
) -> None:
    groups = group_reads(windows, bytes_per_px)
    assert [tile for group in groups for tile in group] == sorted(windows)
    assert len(groups[0]) == 1
    for group in groups:
        whole = extent(group)
        assert whole.width_px == sum(tile.width_px for tile in group)
        size_bytes = whole.width_px * whole.height_px * bytes_per_px
        assert len(group) == 1 or size_bytes <= LARGEST_READ_BYTES


def test_tiles_hold_the_bands_asked_for_in_that_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(1, 999, (4, 300, 700), np.uint16)
    path = write(tmp_path / "a.tif", pixels, tiled=True, blockxsize=256, blockysize=256)
    for tile in read(order(path, (3, 1), 256)):
        w = tile.window
        expected = pixels[[2, 0], w.row_off_px : w.row_end_px, w.col_off_px : w.col_end_px]
        assert tile.pixels is not None
        assert (tile.pixels == expected).all()
        assert tile.valid is not None
        assert tile.valid.all()


def test_a_bad_block_costs_its_tile_only(sample_data: Path) -> None:
    found = read(order(sample_data / "odd" / "corrupt.tif", (1, 2, 3)))
    failed = [tile for tile in found if tile.error]
    assert len(found) == 4
    assert [tile.window for tile in failed] == [Window(512, 512, 512, 512)]
    assert failed[0].pixels is None
    assert "damaged" in str(failed[0].error)
    assert "/" not in str(failed[0].error)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_a_truncated_file_gives_the_tiles_it_still_has(tmp_path: Path, share: float) -> None:
    pixels = np.random.default_rng(5).integers(1, 255, (1, 2048, 512), np.uint8)
    path = write(tmp_path / "a.tif", pixels, tiled=True, blockxsize=512, blockysize=512)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = read(order(path, (1,)))
    assert len(found) == 4
    assert sum(tile.error is None for tile in found) == int(4 * share)


def test_a_file_that_is_gone_is_an_error_with_a_message(tmp_path: Path) -> None:
    there = order(write(tmp_path / "a.tif", np.ones((1, 64, 64), np.uint8)), (1,))
    with pytest.raises(ConstellationError, match="cannot be read"):
        read(replace(there, path=tmp_path / "gone.tif"))


@pytest.mark.parametrize("shape", [(3, 100, 101), (3, 99, 100), (2, 100, 100)])
def test_a_file_that_is_not_the_registered_one_is_not_read(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    to_read = order(write(tmp_path / "a.tif", np.ones((3, 100, 100), np.uint8)), (1, 2, 3))
    write(tmp_path / "a.tif", np.ones(shape, np.uint8))
    with pytest.raises(ReadFailed, match="register it again"):
        read(to_read)


def test_a_jpeg2000_file_is_read(sample_data: Path) -> None:
    scene = sample_data / "scenes" / "s2_b01_missouri_32615.jp2"
    tiles = read(order(scene, (1,), 768))
    assert len(tiles) == 9
    with rasterio.open(scene) as raster:
        expected = raster.read()
    for tile in tiles:
        w = tile.window
        part = expected[:, w.row_off_px : w.row_end_px, w.col_off_px : w.col_end_px]
        assert tile.pixels is not None
        assert (tile.pixels == part).all()


def test_validity_by_nodata_needs_all_bands() -> None:
    pixels = np.array([[[0, 0, 5]], [[0, 7, 5]]])
    assert validity(pixels, 0.0, None).tolist() == [[False, True, True]]


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0])
def test_values_that_are_no_numbers_are_never_valid(hole: float, nodata: float | None) -> None:
    pixels = np.array([[[1.0, hole, 1.0]], [[1.0, 1.0, hole]]])
    assert validity(pixels, nodata, None).tolist() == [[True, False, False]]


def test_a_nodata_value_that_the_type_cannot_hold_matches_nothing() -> None:
    pixels = np.zeros((1, 1, 1), np.uint8)
    assert validity(pixels, -9999.0, None).all()


def test_the_files_own_mask_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((1, 64, 64), np.uint8))
    mask = np.full((64, 64), 255, np.uint8)
    mask[:, :10] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
        raster.write_mask(mask)
    (tile,) = read(order(path, (1,)))
    assert tile.valid is not None
    assert (tile.valid == (mask > 0)).all()


def test_an_alpha_band_counts(tmp_path: Path) -> None:
    pixels = np.full((4, 64, 64), 200, np.uint8)
    pixels[3, :5] = 0
    path = write(tmp_path / "a.tif", pixels, photometric="RGB", alpha="yes")
    (tile,) = read(order(path, (1, 2, 3)))
    assert tile.valid is not None
    assert tile.valid.sum() == 59 * 64


def test_neighbours_of_a_tile_that_cannot_be_read_share_no_blame(sample_data: Path) -> None:
    to_read = order(sample_data / "odd" / "corrupt.tif", (1, 2, 3))
    with open_source(to_read) as source:
        left, right = read_group(source, to_read.windows[2:])
    assert left.error is None
    assert right.error is not None
