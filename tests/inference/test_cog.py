"""Cloud-optimised GeoTIFFs: what other readers make of them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rio_cogeo.cogeo import cog_info, cog_validate

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.inference import tiff
from constellation_pipelines.inference.cog import Sheet, halved, predicted, write_cog

UTM = "EPSG:32633"
NORTH_UP = (10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0)


def sheet_of(values: NDArray[Any], **more: Any) -> Sheet:
    height_px, width_px = values.shape
    floating = values.dtype.kind == "f"
    place = {"crs": UTM, "transform": NORTH_UP} | more
    grid = Grid(place["crs"], place["transform"], width_px, height_px, 512, 512)
    nodata = float("nan") if floating else 255
    return Sheet(grid, values.dtype.type, nodata, "a band", {"a": "1", "b": "<&>\u00e9"})


def write(values: NDArray[Any], path: Path, **more: Any) -> None:
    write_cog(sheet_of(values, **more), lambda top, h: values[top : top + h], path)


def pixels(height_px: int, width_px: int, dtype: type) -> NDArray[Any]:
    dice = np.random.default_rng([height_px, width_px])
    if dtype is np.uint8:
        return dice.integers(0, 256, (height_px, width_px)).astype(np.uint8)
    values = dice.normal(0, 1e4, (height_px, width_px)).astype(np.float32)
    values[dice.random(values.shape) < 0.1] = np.nan
    return values


SIZES = [
    (1, 1),
    (8, 2000),
    (2000, 8),
    (512, 512),
    (513, 512),
    (512, 513),
    (511, 1025),
    (1300, 1100),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("height_px", "width_px"), SIZES)
def test_it_is_valid_and_every_pixel_is_there(
    tmp_path: Path, height_px: int, width_px: int, dtype: type
) -> None:
    values, path = pixels(height_px, width_px, dtype), tmp_path / "c.tif"
    write(values, path)
    assert cog_validate(str(path), strict=True) == (True, [], [])
    with rasterio.open(path) as raster:
        assert raster.read(1).tobytes() == values.tobytes()
        assert raster.compression.name == "zstd"
        assert raster.tags()["b"] == "<&>\u00e9"
        assert raster.descriptions == ("a band",)
        assert raster.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
        least = min(raster.height, raster.width) if not raster.overviews(1) else 0
        assert least <= 512


PLACES = {
    "rotated": (UTM, (8.0, 6.0, 500000.0, 6.0, -8.0, 5000000.0)),
    "geographic": ("EPSG:4326", (1e-4, 0.0, 12.0, 0.0, -1e-4, 50.0)),
    "polar": ("EPSG:3031", (500.0, 0.0, -60000.0, 0.0, -500.0, 70000.0)),
    "across 180": ("EPSG:4326", (1e-3, 0.0, 179.9, 0.0, -1e-3, 10.0)),
    "no code": ("+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=m", NORTH_UP),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_it_lies_where_gdal_would_put_it(
    tmp_path: Path, place: tuple[str, tuple[float, ...]]
) -> None:
    crs, transform = place
    values = pixels(600, 700, np.uint8)
    write(values, tmp_path / "c.tif", crs=crs, transform=transform)
    profile = {"driver": "GTiff", "width": 700, "height": 600, "count": 1, "dtype": "uint8"}
    affine = rasterio.Affine(*transform)
    with rasterio.open(tmp_path / "g.tif", "w", crs=crs, transform=affine, **profile) as plain:
        plain.write(values, 1)
    assert cog_validate(str(tmp_path / "c.tif"), strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "c.tif") as ours, rasterio.open(tmp_path / "g.tif") as plain:
        assert ours.crs == plain.crs
        assert ours.transform == plain.transform


def test_overviews_are_every_second_pixel_or_the_mean_of_four(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.float32):
        values, path = pixels(1301, 1100, dtype), tmp_path / "c.tif"
        write(values, path)
        with rasterio.open(path) as raster:
            assert raster.overviews(1) == [2, 4]
        for level in range(2):
            values = halved(values, floating=dtype is np.float32)
            with rasterio.open(path, overview_level=level) as smaller:
                assert smaller.read(1).tobytes() == values.tobytes()


def test_a_mean_leaves_out_what_is_none() -> None:
    values = np.array([[1, np.nan, np.nan], [3, np.nan, np.nan], [5, 7, 9]], np.float32)
    found = halved(values, floating=True)
    np.testing.assert_array_equal(found, np.array([[2, np.nan], [6, 9]], np.float32))


def test_a_file_too_large_for_a_classic_tiff_is_a_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "LARGEST_CLASSIC_BYTES", 0)
    values, path = pixels(1300, 1100, np.float32), tmp_path / "big.tif"
    write(values, path)
    assert path.read_bytes()[:4] == b"II\x2b\x00"
    assert cog_validate(str(path), strict=True) == (True, [], [])
    with rasterio.open(path) as raster:
        assert raster.read(1).tobytes() == values.tobytes()
    assert cog_info(str(path)).IFD[1].Level == 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_predictor_can_be_undone(rows: int, columns: int, seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2**32, (rows, columns), np.uint32)
    stored = predicted(bits.view(np.float32))
    planes = np.cumsum(stored, axis=1, dtype=np.uint8).reshape(rows, 4, columns)
    back = planes.transpose(0, 2, 1).copy().view(">u4")[:, :, 0]
    assert (back == bits).all()


# An image as wide as its blocks is taken to be in strips; an overview too.
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(8, 1100), st.integers(8, 1100))
@example(513, 512)
@example(1025, 512)
@example(1100, 1023)
@example(1100, 1024)
@example(6000, 512)
def test_whatever_its_size_it_is_valid(tmp_path: Path, height_px: int, width_px: int) -> None:
    values = pixels(height_px, width_px, np.uint8)
    write(values, tmp_path / "c.tif")
    assert cog_validate(str(tmp_path / "c.tif"), strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "c.tif") as raster:
        assert (raster.read(1) == values).all()


MEMORY = """
import resource, sys
import numpy as np
from pathlib import Path
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.inference.cog import Sheet, write_cog
grid = lambda side: Grid("EPSG:32633", (10, 0, 5e5, 0, -10, 5e6), side, side, 512, 512)
def write(side):
    rows = lambda top, h: np.full((h, side), top // 512 % 9, np.uint8)
    sheet = Sheet(grid(side), np.uint8, 255, "class", {})
    write_cog(sheet, rows, Path(sys.argv[1]))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
write(1024)
small = peak()
write(10980)
print(peak() - small)
"""


def test_memory_stays_at_some_strips(tmp_path: Path) -> None:
    """120 MB of pixels, in less than half of that."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "c.tif")]
    grown_mb = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert grown_mb < 60
