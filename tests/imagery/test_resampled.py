"""A raster read on another grid of its own CRS."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from constellation_pipelines.domain.resampling import resampled_grid
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.imagery.raster import open_raster
from constellation_pipelines.imagery.resampled import open_on_grid
from tests.imagery import rasters

SIDE_PX = 120
NORTH_UP = rasters.NORTH_UP
ROTATED = (8.0, 6.0, 500_000.0, 6.0, -8.0, 5_000_000.0)
SOUTH_UP = (10.0, 0.0, 500_000.0, 0.0, 10.0, 5_000_000.0)
DEGREES = (1e-4, 0.0, 14.0, 0.0, -1e-4, 48.0)


def scene(
    path: Path,
    transform: tuple[float, ...] = NORTH_UP,
    *,
    crs: str = "EPSG:32633",
    nodata: float | None = None,
    dtype: str = "uint8",
    **profile: Any,
) -> NDArray[Any]:
    """Write a raster of noise; where there is `nodata`, the first 20 rows hold it."""
    pixels = np.random.default_rng(0).integers(1, 250, (3, SIDE_PX, SIDE_PX)).astype(dtype)
    if nodata is not None:
        pixels[:, :20] = nodata
        pixels[0, 20:40] = nodata  # one band alone
    rasters.write(
        path,
        crs=crs,
        transform=transform,
        nodata=nodata,
        dtype=dtype,
        side_px=SIDE_PX,
        pixels=pixels,
        tiled=True,
        blockxsize=64,
        blockysize=64,
        **profile,
    )
    return pixels


def grid_of(transform: tuple[float, ...], factor: float, crs: str = "EPSG:32633") -> Grid:
    """The scene's extent in pixels `factor` times as large."""
    a, b, c, d, e, f = transform
    steps = (a * factor, b * factor, c, d * factor, e * factor, f)
    side_px = round(SIDE_PX / factor)
    return Grid(crs, steps, side_px, side_px, 512, 512)


def read(path: Path, grid: Grid, way: str = "bilinear", side_px: int = 10_000) -> NDArray[Any]:
    """All of it, in windows of this side."""
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    with open_raster(path) as dataset, open_on_grid(dataset, grid, Resampling[way]) as warped:
        found = np.empty((3, grid.height_px, grid.width_px), dtype=warped.dtypes[0])
        for row in range(0, grid.height_px, side_px):
            for column in range(0, grid.width_px, side_px):
                part = found[:, row : row + side_px, column : column + side_px]
                window = Window(column, row, part.shape[2], part.shape[1])
                part[:] = warped.read([1, 2, 3], window=window)
    return found


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED, SOUTH_UP])
def test_averaging_over_whole_pixels_gives_their_means(
    tmp_path: Path, transform: tuple[float, ...]
) -> None:
    pixels = scene(tmp_path / "a.tif", transform)
    found = read(tmp_path / "a.tif", grid_of(transform, 4.0), "average")
    means = pixels.reshape(3, 30, 4, 30, 4).mean(axis=(2, 4))
    assert np.allclose(found, means, atol=1e-4)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", NORTH_UP),
        ("EPSG:32633", ROTATED),
        ("EPSG:32633", SOUTH_UP),
        ("EPSG:4326", DEGREES),
    ],
)
@pytest.mark.parametrize("factor", [0.25, 0.4, 2.5, 3.0])
def test_pixels_are_where_rasterio_puts_them(
    tmp_path: Path, crs: str, transform: tuple[float, ...], factor: float
) -> None:
    from affine import Affine
    from rasterio.warp import Resampling, reproject

    pixels = scene(tmp_path / "a.tif", transform, crs=crs)
    grid = grid_of(transform, factor, crs)
    expected = np.zeros((3, grid.height_px, grid.width_px), dtype="float32")
    reproject(
        pixels.astype("float32"),
        expected,
        src_transform=Affine(*transform),
        dst_transform=Affine(*grid.transform),
        src_crs=crs,
        dst_crs=crs,
        resampling=Resampling.bilinear,
        XSCALE=repr(1 / factor),
        YSCALE=repr(1 / factor),
    )
    assert np.allclose(read(tmp_path / "a.tif", grid), expected, atol=1e-3)


def test_a_slope_stays_a_slope_at_the_centres_of_the_new_pixels(tmp_path: Path) -> None:
    columns, rows = np.meshgrid(np.arange(SIDE_PX), np.arange(SIDE_PX))
    slope = np.stack([columns, rows, columns + rows]).astype("float32")
    rasters.write(tmp_path / "a.tif", dtype="float32", side_px=SIDE_PX, pixels=slope)
    for factor in (0.5, 2.0, 2.5):
        found = read(tmp_path / "a.tif", grid_of(NORTH_UP, factor))
        centres = (np.arange(found.shape[2]) + 0.5) * factor - 0.5
        inner = slice(3, -3)  # at the rim there is nothing to lean on
        assert np.allclose(found[0, 5, inner], centres[inner], atol=0.02)
        assert np.allclose(found[1, inner, 5], centres[inner], atol=0.02)


@pytest.mark.parametrize("way", ["bilinear", "average", "nearest"])
@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_pixel_does_not_depend_on_the_window_it_is_read_in(
    tmp_path: Path, way: str, factor: float
) -> None:
    scene(tmp_path / "a.tif", ROTATED, nodata=0)
    grid = grid_of(ROTATED, factor)
    whole = read(tmp_path / "a.tif", grid, way)
    for side_px in (7, 37):
        parts = read(tmp_path / "a.tif", grid, way, side_px)
        assert np.array_equal(parts, whole, equal_nan=way != "nearest")


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 0),
        ("uint16", 0),
        ("uint16", 65535),
        ("int16", -9999),
        ("float32", -9999.0),
        ("float32", math.nan),
        ("float64", 0.0),
    ],
)
def test_pixels_without_data_are_nan_and_mix_with_nothing(
    tmp_path: Path, dtype: str, nodata: float
) -> None:
    scene(tmp_path / "a.tif", nodata=nodata, dtype=dtype)
    found = read(tmp_path / "a.tif", grid_of(NORTH_UP, 2.0))
    # Band by band the row at a hole's rim is what the pixels beyond it say.
    assert np.isnan(found[:, : 9 if nodata < 0 else 10]).all()
    assert not np.isnan(found[1:, 10:]).any()
    assert found[1:, 10:].min() >= 1
    assert found[1:, 10:].max() < 250
    # In one band alone the value is a value, unless it is no number or no measurement.
    alone = math.nan if nodata < 0 else nodata
    assert np.array_equal(
        found[0, 11:19], np.full((8, SIDE_PX // 2), alone, found.dtype), equal_nan=True
    )


def masked(path: Path, nodata: float | None) -> None:
    import rasterio

    scene(path, nodata=nodata)
    seen = np.full((SIDE_PX, SIDE_PX), 255, dtype=np.uint8)
    seen[:, :40] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
        raster.write_mask(seen)


@pytest.mark.parametrize("nodata", [None, 0])
def test_the_mask_of_the_file_counts(tmp_path: Path, nodata: float | None) -> None:
    masked(tmp_path / "a.tif", nodata)
    for factor in (0.5, 2.0):
        found = read(tmp_path / "a.tif", grid_of(NORTH_UP, factor))
        edge = round(40 / factor)
        assert np.isnan(found[:, :, :edge]).all()
        assert not np.isnan(found[:, :, edge:]).any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("opaque", [255, 1])
def test_an_alpha_band_counts_whatever_its_scale(tmp_path: Path, dtype: str, opaque: int) -> None:
    pixels = np.full((4, SIDE_PX, SIDE_PX), 100, dtype=dtype)
    pixels[3] = opaque
    pixels[:, :, :40] = 0
    path = rasters.write(
        tmp_path / "a.tif",
        count=4,
        dtype=dtype,
        side_px=SIDE_PX,
        pixels=pixels,
        photometric="rgb",
        alpha="yes",
    )
    found = read(path, grid_of(NORTH_UP, 2.5))
    assert np.isnan(found[:, :, :16]).all()
    assert np.allclose(found[:, :, 16:], 100)


def test_a_mask_read_by_nearest_keeps_its_values_and_type(tmp_path: Path) -> None:
    pixels = scene(tmp_path / "a.tif", nodata=0, dtype="uint16")
    found = read(tmp_path / "a.tif", grid_of(NORTH_UP, 3.0), "nearest")
    assert found.dtype == np.uint16
    assert np.array_equal(found, pixels[:, 1::3, 1::3])
    finer = read(tmp_path / "a.tif", grid_of(NORTH_UP, 0.5), "nearest")
    assert np.array_equal(finer, pixels.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("name", ["s2_tci_libya_32634.tif", "s2_b01_missouri_32615.jp2"])
def test_a_file_that_is_cut_off_loses_windows_and_never_lies(
    sample_data: Path, tmp_path: Path, name: str
) -> None:
    content = (sample_data / "scenes" / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content)
    whole = windows_of(path)
    path.write_bytes(content[: len(content) * 4 // 5])
    cut = windows_of(path)
    assert all(pixels == whole[place] for place, pixels in cut.items())
    assert 0 < len(cut) < len(whole)


def windows_of(path: Path) -> dict[tuple[int, int], bytes]:
    """The windows of the scene at half its pixel size that can be read."""
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    scene = describe_scene(path)
    grid = resampled_grid(scene, scene.gsd_m / 2)
    found = {}
    with open_raster(path) as dataset, open_on_grid(dataset, grid, Resampling.bilinear) as warped:
        for row in range(0, grid.height_px, 512):
            for column in range(0, grid.width_px, 512):
                size = min(512, grid.width_px - column), min(512, grid.height_px - row)
                try:
                    found[row, column] = warped.read(window=Window(column, row, *size)).tobytes()
                except RasterioError:
                    continue
    return found
