"""Every real scene lies where rasterio says it does, pixel by pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
import shapely

from constellation_pipelines.domain.resampling import resampled_grid
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.geo.footprint import area_km2, gsd_m, pixel_size_m, window_footprints
from constellation_pipelines.geo.projecting import to_lonlat
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.imagery.raster import open_raster
from constellation_pipelines.imagery.resampled import open_on_grid
from tests.imagery import rasters
from tests.imagery.test_describe import ODD, SCENES

NAMES = [*(f"scenes/{name}" for name in SCENES), *(f"odd/{name}" for name in ODD)]


@pytest.fixture(params=NAMES)
def path(sample_data: Path, request: pytest.FixtureRequest) -> Path:
    found: Path = sample_data / request.param
    return found


def test_random_pixels_are_where_rasterio_puts_them(path: Path) -> None:
    import rasterio
    from rasterio.warp import transform

    scene = describe_scene(path)
    random = np.random.default_rng(0)
    columns, rows = random.uniform(0, [scene.grid.width_px, scene.grid.height_px], (500, 2)).T
    with rasterio.open(path) as raster:
        xs, ys = raster.transform @ (columns, rows)
        expected = np.array(transform(raster.crs, "EPSG:4326", xs, ys))
    found = np.array(to_lonlat(scene.grid, columns, rows))
    assert np.abs((found - expected + 180) % 360 - 180).max() < 1e-9
    points = shapely.points(*expected)
    rim_px = np.minimum.reduce(
        [columns, scene.grid.width_px - columns, rows, scene.grid.height_px - rows]
    )
    footprint = shapely.geometry.shape(scene.footprint)
    assert shapely.intersects(footprint, points)[rim_px > 0.5].all()
    windows = tile_windows(scene.grid, 64)
    for window, tile in zip(windows, window_footprints(scene.grid, windows), strict=True):
        inside = (columns > window.col_off_px + 0.5) & (columns < window.col_end_px - 0.5)
        inside &= (rows > window.row_off_px + 0.5) & (rows < window.row_end_px - 0.5)
        assert shapely.intersects(tile, points)[inside].all()


def test_the_tiles_add_up_to_the_scene_and_the_scene_to_its_pixels(path: Path) -> None:
    scene = describe_scene(path)
    tiles = window_footprints(scene.grid, tile_windows(scene.grid, 64))
    assert math.fsum(map(area_km2, tiles)) == pytest.approx(scene.area_km2, rel=1e-3)


@pytest.mark.parametrize("factor", [0.5, 2.6])
def test_a_scene_resampled_covers_the_same_ground(path: Path, factor: float) -> None:
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError

    scene = describe_scene(path)
    grid = resampled_grid(scene, scene.gsd_m * factor)
    assert gsd_m(grid) == pytest.approx(scene.gsd_m * factor, rel=0.02)
    assert corners(grid) == pytest.approx(corners(scene.grid), rel=1e-12)
    random = np.random.default_rng(1)
    with open_raster(path) as raster, open_on_grid(raster, grid, Resampling.nearest) as warped:
        assert (warped.width, warped.height) == (grid.width_px, grid.height_px)
        try:
            native, resampled = raster.read(1), warped.read(1)
        except RasterioError:
            assert path.name == "corrupt.tif"
            return
    columns = random.integers(0, grid.width_px, 500)
    rows = random.integers(0, grid.height_px, 500)
    # The centre of a new pixel, in the old ones. Nearest to a border is either side of it.
    across = (columns + 0.5) * scene.grid.width_px / grid.width_px
    down = (rows + 0.5) * scene.grid.height_px / grid.height_px
    clear = (np.abs(across - np.round(across)) > 1e-6) & (np.abs(down - np.round(down)) > 1e-6)
    expected = native[down.astype(int), across.astype(int)]
    assert (resampled[rows, columns] == expected)[clear].all()
    assert clear.any()


def corners(grid: Grid) -> list[float]:
    a, b, c, d, e, f = grid.transform
    w, h = grid.width_px, grid.height_px
    return [
        v
        for i, j in ((0, 0), (w, 0), (w, h), (0, h))
        for v in (a * i + b * j + c, d * i + e * j + f)
    ]


def test_degrees_become_square_on_the_ground(tmp_path: Path) -> None:
    degrees = (1e-4, 0.0, 14.0, 0.0, -1e-4, 60.0)
    path = rasters.write(tmp_path / "a.tif", crs="EPSG:4326", transform=degrees, side_px=2000)
    scene = describe_scene(path)
    assert scene.grid.aspect == pytest.approx(math.cos(math.radians(59.9)), abs=2e-3)
    grid = resampled_grid(scene, 10.0)
    assert pixel_size_m(grid) == pytest.approx((10, 10), rel=2e-3)
    assert grid.aspect == pytest.approx(1, abs=2e-3)
