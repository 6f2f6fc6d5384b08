import math
import time
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from shapely import MultiPolygon

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.footprint import (
    area_km2,
    grid_footprint,
    gsd_m,
    to_mercator,
    window_footprints,
)
from constellation_pipelines.geo.tiling import tile_windows
from tests.geo import grids


def corners(grid: Grid) -> list[tuple[float, float]]:
    """Corners in lon/lat by the affine written out, longitudes in -180..180."""
    a, b, c, d, e, f = grid.transform
    w, h = grid.width_px, grid.height_px
    places = [(a * i + b * j + c, d * i + e * j + f) for i, j in ((0, 0), (w, 0), (w, h), (0, h))]
    way = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    found = [way.transform(x, y) for x, y in places]
    return [((lon + 180) % 360 - 180, lat) for lon, lat in found]


@pytest.mark.parametrize("grid", grids.EVERYWHERE)
def test_a_footprint_is_valid_finite_and_counterclockwise(grid: Grid) -> None:
    for footprint in [grid_footprint(grid), *window_footprints(grid, tile_windows(grid, 64))]:
        assert isinstance(footprint, MultiPolygon)
        assert footprint.is_valid
        assert not footprint.is_empty
        assert np.isfinite(shapely.get_coordinates(footprint)).all()
        assert all(part.exterior.is_ccw for part in footprint.geoms)
        west, south, east, north = footprint.bounds
        assert -180 <= west < east <= 180
        assert -90 <= south < north <= 90


@pytest.mark.parametrize("grid", [g for g in grids.EVERYWHERE if g is not grids.ARCTIC_CORNER])
def test_the_corners_of_the_grid_are_corners_of_its_footprint(grid: Grid) -> None:
    vertices = shapely.get_coordinates(grid_footprint(grid))
    for lon, lat in corners(grid):
        assert np.hypot(*(vertices - (lon, lat)).T).min() < 1e-9


@pytest.mark.parametrize("grid", grids.EVERYWHERE)
def test_the_tiles_cover_what_the_grid_covers(grid: Grid) -> None:
    tiles = window_footprints(grid, tile_windows(grid, 64))
    assert math.fsum(map(area_km2, tiles)) == pytest.approx(
        area_km2(grid_footprint(grid)), rel=1e-4
    )


@pytest.mark.parametrize("grid", grids.EVERYWHERE)
def test_the_area_is_that_of_the_pixels(grid: Grid) -> None:
    expected = grid.width_px * grid.height_px * gsd_m(grid) ** 2 / 1e6
    assert area_km2(grid_footprint(grid)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("grid", [g for g in grids.EVERYWHERE if g is not grids.ARCTIC_CORNER])
def test_neighbouring_tiles_share_their_corners_exactly(grid: Grid) -> None:
    left, right = window_footprints(grid, [Window(0, 0, 512, 512), Window(0, 512, 512, 512)])
    shared = set(map(tuple, shapely.get_coordinates(left)))
    shared &= set(map(tuple, shapely.get_coordinates(right)))
    assert len(shared) >= 2


@pytest.mark.parametrize(
    "grid", [grids.DATELINE_UTM, grids.DATELINE_DEGREES, grids.DATELINE_MERCATOR]
)
def test_a_footprint_across_180_is_split_and_never_spans_the_globe(grid: Grid) -> None:
    footprint = grid_footprint(grid)
    assert len(footprint.geoms) == 2
    assert all(part.bounds[2] - part.bounds[0] < 3 for part in footprint.geoms)
    west, _, east, _ = dateline.bounds(footprint)
    assert 175 < west < 180
    assert -180 < east < -175


def test_a_footprint_round_the_pole_reaches_it_on_every_side() -> None:
    footprint = grid_footprint(grids.ANTARCTIC)
    assert dateline.bounds(footprint)[:3:2] == (-180, 180)
    for lon in range(-180, 181, 15):
        assert footprint.covers(shapely.Point(lon, -89.99))
        assert not footprint.covers(shapely.Point(lon, -89.0))


def test_a_footprint_with_the_pole_in_its_corner_covers_a_quarter_turn() -> None:
    footprint = grid_footprint(grids.ARCTIC_CORNER)
    west, _, east, north = footprint.bounds
    assert (west, east) == pytest.approx((-45, 45), abs=0.01)
    assert north == pytest.approx(90, abs=1e-3)


@pytest.mark.parametrize("west", [-180.0, 0.0])
def test_a_global_grid_covers_the_globe_once(west: float) -> None:
    grid = Grid("EPSG:4326", (0.25, 0, west, 0, -0.25, 90), 1440, 720, 512, 512)
    footprint = grid_footprint(grid)
    assert footprint.bounds == (-180, -90, 180, 90)
    assert area_km2(footprint) == pytest.approx(510_065_622, rel=1e-6)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", (10, 0, 50_000_000, 0, -10, 5_000_000)),
        ("EPSG:4326", (0.1, 0, 10, 0, -0.1, 95)),
        ("EPSG:32633", (float("nan"), 0, 0, 0, -10, 0)),
        ("EPSG:32633", (float("inf"), 0, 0, 0, -10, 0)),
        ("EPSG:32633", (10, 0, 500_000, 10, 0, 5_000_000)),
        ("+proj=ortho +lat_0=0 +lon_0=0 +ellps=WGS84", (13_000, 0, -6.5e6, 0, -13_000, 6.5e6)),
        ("no such crs", (10, 0, 0, 0, -10, 0)),
    ],
)
def test_a_grid_that_is_not_on_the_earth_is_refused(
    crs: str, transform: tuple[float, float, float, float, float, float]
) -> None:
    with pytest.raises(SceneRefused):
        grid_footprint(grids.grid(crs, transform))


def test_a_grid_over_the_edge_of_its_projection_is_refused() -> None:
    # The first sinusoidal tile of 60 to 70 N: most of it lies beyond the edge of the globe.
    step = 463.312716528
    sinusoidal = "+proj=sinu +R=6371007.181 +units=m"
    grid = Grid(sinusoidal, (step, 0, -20015109.354, 0, -step, 7783653.638), 2400, 2400, 512, 512)
    with pytest.raises(SceneRefused, match="beyond the edge"):
        grid_footprint(grid)


@given(
    zone=st.integers(1, 60),
    south=st.booleans(),
    east_m=st.floats(200_000, 750_000),
    north_m=st.floats(300_000, 9_000_000),
    turn=st.floats(0, 2 * math.pi),
    gsd=st.floats(0.3, 60),
)
@settings(deadline=None, max_examples=60)
def test_any_utm_grid_has_a_footprint_of_its_size(
    zone: int, south: bool, east_m: float, north_m: float, turn: float, gsd: float
) -> None:
    a, b = gsd * math.cos(turn), gsd * math.sin(turn)
    crs = f"EPSG:{(32700 if south else 32600) + zone}"
    grid = grids.grid(crs, (a, b, east_m, b, -a, north_m), side_px=1000)
    footprint = grid_footprint(grid)
    assert footprint.is_valid
    assert gsd_m(grid) == pytest.approx(gsd, rel=0.01)
    assert area_km2(footprint) == pytest.approx(gsd**2, rel=0.02)
    west, _, east, _ = dateline.bounds(footprint)
    assert (east - west) % 360 < 60  # at 87 degrees south, 60 km are 12 degrees wide


@pytest.mark.parametrize(
    "steps",
    [
        (0.0, 4375.0, 0.0, 2578.125),
        (10.0, 10.0, 10.0, 10.000001),
        (0.0, 0.0, 0.0, 0.0),
        (1e-40, 4375.0, 0.0, 2578.125),
        (0.6, 0.0, 0.0, -28906.25),
        (1e-9, 0.0, 0.0, -1e-9),
    ],
)
def test_a_grid_of_lines_or_dots_is_refused(
    steps: tuple[float, float, float, float],
) -> None:
    a, b, d, e = steps
    with pytest.raises(SceneRefused, match="folds"):
        grid_footprint(grids.grid("EPSG:32633", (a, b, 0.0, d, e, 0.375 * 3e7)))


def test_a_grid_over_more_than_half_the_globe_that_crosses_itself_is_refused() -> None:
    with pytest.raises(SceneRefused, match="folds"):
        grid_footprint(grids.grid("EPSG:32633", (12_500.0, 0.0, 0.0, 0.0, 43_750.0, 0.0)))


def test_tiles_of_long_thin_pixels_near_the_pole_are_valid() -> None:
    grid = grids.grid("EPSG:3031", (0.0, 78.125, 0.0, -10_000.0, 0.0, 7_500_000.0))
    footprints = window_footprints(grid, tile_windows(grid, 64))
    assert all(footprint.is_valid and footprint.area > 0 for footprint in footprints)
    assert all(to_mercator(footprint).is_valid for footprint in footprints)


@given(
    crs=st.sampled_from(["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:3031", "EPSG:3413"]),
    steps=st.tuples(*[st.floats(-1, 1)] * 4),
    place=st.tuples(*[st.floats(-1, 1)] * 2),
    size=st.sampled_from([1e-3, 1.0, 1e2, 1e4, 1e5]),
)
@settings(deadline=None, max_examples=300)
def test_any_grid_at_all_has_a_valid_footprint_or_is_refused(
    crs: str, steps: tuple[float, ...], place: tuple[float, ...], size: float
) -> None:
    unit = 1e-5 if crs == "EPSG:4326" else 1.0
    a, b, d, e = (step * size * unit for step in steps)
    grid = grids.grid(crs, (a, b, place[0] * 3e7 * unit, d, e, place[1] * 3e7 * unit))
    try:
        footprints = [grid_footprint(grid), *window_footprints(grid, tile_windows(grid, 64))]
    except SceneRefused:
        return
    for footprint in footprints:
        west, south, east, north = footprint.bounds
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90
        assert np.isfinite(shapely.get_coordinates(to_mercator(footprint))).all()
        assert footprint.is_valid


@pytest.mark.parametrize(
    ("grid", "expected"), [(grids.ROTATED, 10.0), (grids.DEGREES, 10.08), (grids.utm(), 10.0)]
)
def test_the_ground_size_of_a_pixel_is_in_metres_in_every_crs(grid: Grid, expected: float) -> None:
    assert gsd_m(grid) == pytest.approx(expected, rel=0.005)


def test_mercator_coordinates_are_those_of_epsg_3857() -> None:
    footprint = grid_footprint(grids.utm())
    way = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    expected = np.column_stack(way.transform(*shapely.get_coordinates(footprint).T))
    assert np.allclose(shapely.get_coordinates(to_mercator(footprint)), expected, atol=1e-6)


@pytest.mark.parametrize("grid", grids.EVERYWHERE)
def test_mercator_footprints_are_finite_and_within_the_square(grid: Grid) -> None:
    for footprint in window_footprints(grid, tile_windows(grid, 64)):
        projected = to_mercator(footprint)
        assert isinstance(projected, MultiPolygon)
        limit_m = math.pi * 6_378_137 * (1 + 1e-9)
        assert (np.abs(shapely.get_coordinates(projected)) <= limit_m).all()


def test_a_footprint_beyond_the_mercator_square_becomes_empty() -> None:
    assert to_mercator(grid_footprint(grids.ANTARCTIC)).is_empty


def test_ten_thousand_footprints_take_under_a_second() -> None:
    grid = grids.utm(51_200, 51_200)
    windows = tile_windows(grid, 64)
    began = time.process_time()
    footprints = window_footprints(grid, windows)
    assert time.process_time() - began < 1
    assert len(footprints) == 10_000


def test_no_windows_have_no_footprints() -> None:
    assert window_footprints(grids.utm(), []) == []


def test_the_area_of_a_tile_is_that_of_its_geodesic_outline() -> None:
    footprint = window_footprints(grids.DEGREES, [Window(0, 0, 512, 512)])[0]
    lon, lat = shapely.get_coordinates(footprint).T
    expected_m2, _ = Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)
    assert area_km2(footprint) == pytest.approx(abs(expected_m2) / 1e6)


def test_the_edges_of_a_wide_scene_bend_with_its_projection() -> None:
    wide = grids.grid("EPSG:3413", (3000.0, 0, -3_000_000, 0, -3000.0, -500_000))
    way = Transformer.from_crs(wide.crs, "EPSG:4326", always_xy=True)
    ring = grid_footprint(wide).geoms[0].exterior
    columns = np.linspace(0, wide.width_px, 500)
    edge = np.column_stack(way.transform(-3_000_000 + 3000 * columns, np.full(500, -500_000.0)))
    off = max(ring.distance(shapely.Point(*point)) for point in edge)
    assert off < 0.2  # degrees; the straight line between the corners is off by more than ten
    assert all(a != b for a, b in pairwise(ring.coords))
