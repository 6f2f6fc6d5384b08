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
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.window import Window
from constellation_pipelines.imagery.block_cache import LEAST_BYTES, limit
from constellation_pipelines.inference.ahead import Ahead
from constellation_pipelines.inference.reader import (
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
    with rasterio.open(path, "w", **{"driver": "GTiff"} | size | place | profile) as raster:
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


@given(tiles, st.sampled_from([1, 3, 8, 64]), st.sampled_from([0, 1_000_000, 8_000_000]))
def test_each_tile_is_read_once_beside_its_neighbours_within_the_limit(
    windows: list[Window], bytes_per_px: int, largest_bytes: int
) -> None:
    groups = group_reads(windows, bytes_per_px, largest_bytes)
    assert [tile for group in groups for tile in group] == sorted(windows)
    assert len(groups[0]) == 1
    for group in groups:
        whole = extent(group)
        assert whole.width_px == sum(tile.width_px for tile in group)
        size_bytes = whole.width_px * whole.height_px * bytes_per_px
        assert len(group) == 1 or size_bytes <= largest_bytes


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


@pytest.mark.parametrize("nodata", [-9999.0, -3.4028234663852886e38, 1e20])
def test_a_nodata_value_that_is_no_measurement_counts_in_each_band(nodata: float) -> None:
    pixels = np.array([[[nodata, nodata, 5]], [[nodata, 7, 5]]], np.float32)
    assert validity(pixels, nodata, None).tolist() == [[False, False, True]]


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


# ---- each block once ----

WHOLE = {"tiled": True, "blockxsize": 256, "blockysize": 256}
LAYOUTS: dict[str, dict[str, Any]] = {
    "whole blocks": WHOLE,
    "whole blocks, alpha": WHOLE | {"photometric": "RGB", "alpha": "yes"},
    "whole blocks, band by band": WHOLE | {"interleave": "band"},
    "strips": {"blockysize": 16},
    "lines": {"blockysize": 1},
    "strips, alpha": {"blockysize": 16, "photometric": "RGB", "alpha": "yes"},
    "strips, band by band": {"blockysize": 16, "interleave": "band"},
    "blocks cut by tiles": {"tiled": True, "blockxsize": 640, "blockysize": 320},
    "JPEG2000": {"driver": "JP2OpenJPEG", "quality": 100, "reversible": True, "blockxsize": 512}
    | {"blockysize": 256},
}


def bytes_read() -> int:
    """What this process has read from files."""
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if "rchar" in line)
    return int(line.split()[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_block_is_decoded_once(tmp_path: Path, layout: str) -> None:
    """What is decoded twice is read from the file twice."""
    noise = np.random.default_rng(5).integers(1, 9999, (4, 1000, 3000), np.uint16)
    how = {"compress": "deflate", "interleave": "pixel"} if layout != "JPEG2000" else {}
    path = write(tmp_path / "scene.jp2", noise, **how | LAYOUTS[layout])
    to_read = order(path, (1, 2, 3))
    with open_source(to_read) as source:
        before = bytes_read()
        tiles = [tile for group in read_tiles(source, to_read.windows) for tile in group]
        spent = bytes_read() - before
    assert len(tiles) == 12
    for tile in tiles:
        w = tile.window
        expected = noise[:3, w.row_off_px : w.row_end_px, w.col_off_px : w.col_end_px]
        assert tile.pixels is not None
        assert (tile.pixels == expected).all()
    needed = 3 / 4 if layout.endswith("band by band") else 1
    assert spent < 1.2 * needed * path.stat().st_size + 100_000


def test_room_for_a_mask_s_blocks_goes_once_pixels_are_read(tmp_path: Path) -> None:
    """Scenes in whole blocks are read quicker without any."""
    ground = np.full((1, 512, 512), 4, np.uint8)
    mask = write(tmp_path / "scl.tif", ground, blockysize=16)
    scene = write(tmp_path / "a.tif", np.ones((1, 512, 512), np.uint8), **WHOLE)
    quality = QualityMask(QualityKind.SCL, str(mask))
    to_read = replace(order(scene, (1,), 256), quality=quality)
    before = limit()
    with open_source(to_read) as source:
        assert source.cloud_fraction(to_read.windows[0]) == 0
        assert limit() > LEAST_BYTES
        source.read(to_read.windows[0])
        assert limit() == LEAST_BYTES
        assert source.cloud_fraction(to_read.windows[1]) == 0
    assert limit() == before


# ---- as rasterio reads it ----


def scenes(sample_data: Path) -> list[Path]:
    folders = (sample_data / "scenes", sample_data / "odd")
    found = (path for folder in folders for path in sorted(folder.glob("*.*")))
    rasters = (path for path in found if path.suffix in (".tif", ".jp2"))
    return [path for path in rasters if has_crs(path)]


def has_crs(path: Path) -> bool:
    with rasterio.open(path) as raster:
        return raster.crs is not None


def test_every_real_scene_is_read_as_rasterio_reads_it(sample_data: Path) -> None:
    """Every band, every tile, whatever the CRS; and what the file says holds data."""
    seen = set()
    for path in scenes(sample_data):
        with rasterio.open(path) as raster:
            seen.add(raster.crs.to_epsg())
            bands = tuple(range(1, raster.count + 1))
            for tile in read(order(path, bands)):
                w = tile.window
                place = rasterio.windows.Window(w.col_off_px, w.row_off_px, w.width_px, w.height_px)
                if tile.error is not None:
                    assert path.name == "corrupt.tif"
                    continue
                expected = raster.read(window=place)
                assert tile.pixels is not None
                assert tile.valid is not None
                assert tile.pixels.dtype == expected.dtype
                assert (tile.pixels == expected).all(), (path.name, w)
                # Ours: a pixel holds data where any band does. Theirs: band by band.
                theirs = raster.read_masks(window=place).any(0)
                assert (tile.valid == theirs).all(), (path.name, w)
    assert {4326, 26914, 31985, 32615, 32618, 32624, 32634, 32660} <= seen


def test_every_real_scene_is_read_on_another_grid_as_rasterio_warps_it(sample_data: Path) -> None:
    """Pixels twice as large: each the mean of four, where the file is read as it is."""
    compared = 0
    for path in scenes(sample_data):
        grid, _, nodata = describe(path)
        if path.name == "corrupt.tif" or grid.width_px % 2 or grid.height_px % 2:
            continue  # the corners of an odd one would not meet those of its half
        a, b, c, d, e, f = grid.transform
        coarse = replace(
            grid,
            transform=(2 * a, 2 * b, c, 2 * d, 2 * e, f),
            width_px=grid.width_px // 2,
            height_px=grid.height_px // 2,
        )
        part = Window(0, 0, min(coarse.height_px, 128), min(coarse.width_px, 128))
        with open_source(ReadOrder(path, coarse, (1,), nodata, (part,))) as source:
            pixels, valid = source.read(part)
        place = rasterio.windows.Window(0, 0, 2 * part.width_px, 2 * part.height_px)
        with rasterio.open(path) as raster:
            squares = part.height_px, 2, part.width_px, 2
            means = raster.read(1, window=place).astype(np.float64).reshape(squares).mean((1, 3))
            there = (raster.read_masks(1, window=place) > 0).reshape(squares).all((1, 3))
        assert valid[there].all(), path.name
        assert np.allclose(pixels[0][there], means[there], atol=1e-3), path.name
        compared += 1
    assert compared >= 3
