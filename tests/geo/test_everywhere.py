"""Footprints against the projection's own word for random pixels, all over the Earth."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from shapely.geometry import mapping

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.aoi import validate_aoi
from constellation_pipelines.geo.footprint import (
    area_km2,
    grid_footprint,
    gsd_m,
    to_mercator,
    window_footprints,
)
from constellation_pipelines.geo.tiling import area_of, tile_windows, windows_touching
from tests.geo import grids

SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m"
HARD = {
    "utm": grids.utm(),
    "rotated": grids.ROTATED,
    "sheared": grids.grid("EPSG:32633", (10.0, 4.0, 500_000, 1.0, -7.0, 5_000_000)),
    "south up": grids.grid("EPSG:32633", (10.0, 0, 500_000, 0, 10.0, 5_000_000)),
    "mirrored": grids.grid("EPSG:32633", (-10.0, 0, 510_000, 0, -10.0, 5_000_000)),
    "utm far west of its zone": grids.grid("EPSG:32633", (30.0, 0, -900_000, 0, -30.0, 7_900_000)),
    "utm round the pole": grids.grid("EPSG:32633", (300.0, 0, 340_000, 0, -300.0, 10_150_000)),
    "utm of the south beyond the equator": grids.grid(
        "EPSG:32733", (100.0, 0, 450_000, 0, -100.0, 10_050_000)
    ),
    "antarctic": grids.ANTARCTIC,
    "antarctic off centre": grids.grid("EPSG:3031", (100.0, 0, -31_234, 0, -100.0, 71_217)),
    "antarctic turned": grids.grid("EPSG:3031", (80.0, 60.0, -71_000, 60.0, -80.0, 9_000)),
    "antarctic south up": grids.grid("EPSG:3031", (100.0, 0, -51_200, 0, 100.0, -51_200)),
    "antarctic whole": grids.grid("EPSG:3031", (6_000.0, 0, -3.072e6, 0, -6_000.0, 3.072e6)),
    "arctic corner": grids.ARCTIC_CORNER,
    "arctic edge": grids.grid("EPSG:3413", (100.0, 0, -33_333, 0, -100.0, 0)),
    "arctic with the pole on a tile's edge": grids.grid(
        "EPSG:3413", (100.0, 0, -51_200, 0, -100.0, 33_333)
    ),
    "arctic to the equator": grids.grid(
        "EPSG:3413", (26_000.0, 0, -13.312e6, 0, -26_000.0, 13.312e6)
    ),
    "arctic equal area": grids.grid(
        "EPSG:6931", (17_500.0, 0, -8.96e6, 0, -17_500.0, 8.96e6)
    ),
    "degrees": grids.DEGREES,
    "degrees beyond 180": grids.DATELINE_DEGREES,
    "degrees from 0 to 360": Grid("EPSG:4326", (0.25, 0, 0, 0, -0.25, 80), 1440, 640, 512, 512),
    "degrees of the globe": Grid("EPSG:4326", (0.25, 0, -180, 0, -0.25, 90), 1440, 720, 512, 512),
    "degrees of the globe from 0": Grid("EPSG:4326", (0.5, 0, 0, 0, -0.5, 90), 720, 360, 512, 512),
    "degrees below -180": grids.grid("EPSG:4326", (1e-3, 0, -180.5, 0, -1e-3, 10.0)),
    "degrees south up": grids.grid("EPSG:4326", (1e-3, 0, 14, 0, 1e-3, 60.0)),
    "degrees turned": grids.grid("EPSG:4326", (1e-4, 5e-5, 179.95, 5e-5, -1e-4, -17.0)),
    "degrees at the pole": grids.grid("EPSG:4326", (0.01, 0, 20, 0, -0.01, 90.0)),
    "grads of Paris": grids.grid("EPSG:4807", (1e-3, 0, 1.0, 0, -1e-3, 52.0)),
    "mercator beyond 180": grids.DATELINE_MERCATOR,
    "mercator of the north": grids.grid("EPSG:3857", (100.0, 0, 1e6, 0, -100.0, 19e6)),
    "mercator of the Pacific": grids.grid("EPSG:3832", (500.0, 0, 3.1e6, 0, -500.0, 1e6)),
    "utm beyond 180": grids.DATELINE_UTM,
    "fiji": grids.grid("EPSG:3460", (200.0, 0, 1_950_000, 0, -200.0, 4_050_000)),
    "europe": grids.grid("EPSG:3035", (4_000.0, 0, 2.5e6, 0, -4_000.0, 5.5e6)),
    "modis": grids.grid(SINUSOIDAL, (463.3127165, 0, 1_111_950.5, 0, -463.3127165, 6_671_703.1)),
    "alaska": grids.grid("EPSG:3338", (2_000.0, 0, -2.2e6, 0, -2_000.0, 2.3e6)),
    "australia in feet": grids.grid("EPSG:2227", (33.0, 0, 6_000_000, 0, -33.0, 2_100_000)),
}  # fmt: skip


@pytest.fixture(params=HARD)
def grid(request: pytest.FixtureRequest) -> Grid:
    return HARD[request.param]


Pixels = NDArray[np.float64]


def lonlat(grid: Grid, columns: Pixels, rows: Pixels) -> tuple[Pixels, Pixels]:
    """Longitudes in -180..180 and latitudes, by the affine and the projection alone."""
    a, b, c, d, e, f = grid.transform
    way = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    lon, lat = way.transform(a * columns + b * rows + c, d * columns + e * rows + f)
    lon, lat = (np.where(np.isfinite(values), values, np.nan) for values in (lon, lat))
    return (lon + 180) % 360 - 180, lat


def pixels(grid: Grid, lon: Pixels, lat: Pixels) -> list[tuple[Pixels, Pixels]]:
    """Where places lie in the grid, once for each turn of the Earth it may reckon with."""
    a, b, c, d, e, f = grid.transform
    back = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    x, y = (np.where(np.isfinite(v), v, np.nan) for v in back.transform(lon, lat))
    turn = {"EPSG:4326": 360.0, "EPSG:3857": 2 * math.pi * 6_378_137}.get(grid.crs, 0.0)
    found = []
    for shift in (0.0, turn, -turn) if turn else (0.0,):
        east, north = x + shift - c, y - f
        found.append(
            ((e * east - b * north) / (a * e - b * d), (a * north - d * east) / (a * e - b * d))
        )
    return found


def test_each_pixel_lies_in_the_footprint_of_its_tile_and_of_no_other(grid: Grid) -> None:
    windows = tile_windows(grid, 64)
    tiles = window_footprints(grid, windows)
    scene = grid_footprint(grid)
    random = np.random.default_rng(0)
    columns, rows = random.uniform(0, [grid.width_px, grid.height_px], (800, 2)).T
    lon, lat = lonlat(grid, columns, rows)
    points = shapely.points(lon, lat)
    for window, tile in zip(windows, tiles, strict=True):
        inside_px = np.minimum.reduce(
            [
                columns - window.col_off_px,
                window.col_end_px - columns,
                rows - window.row_off_px,
                window.row_end_px - rows,
            ]
        )
        sure = np.abs(inside_px) > 1  # a footprint may be off by part of a pixel
        covered = shapely.intersects(tile, points)
        assert (covered == (inside_px > 0))[sure].all()
    rim_px = np.minimum.reduce([columns, grid.width_px - columns, rows, grid.height_px - rows])
    assert shapely.intersects(scene, points)[rim_px > 1].all()


def test_places_around_the_scene_are_not_in_its_footprint(grid: Grid) -> None:
    scene = grid_footprint(grid)
    random = np.random.default_rng(1)
    lat = np.degrees(np.arcsin(random.uniform(-1, 1, 3000)))
    lon = random.uniform(-180, 180, 3000)
    inside = np.zeros(lon.size, dtype=bool)
    near = np.zeros(lon.size, dtype=bool)
    for columns, rows in pixels(grid, lon, lat):
        on_map = np.isfinite(columns) & np.isfinite(rows)
        columns, rows = np.where(on_map, columns, 1e9), np.where(on_map, rows, 1e9)
        rim_px = np.minimum.reduce([columns, grid.width_px - columns, rows, grid.height_px - rows])
        inside |= rim_px > 0
        near |= np.abs(rim_px) < 1
    back_lon, back_lat = lonlat(grid, *pixels(grid, lon, lat)[0])
    known = np.isfinite(back_lon) & (np.abs(back_lat - lat) < 1e-6) & ~near
    covered = shapely.intersects(scene, shapely.points(lon, lat))
    assert (covered == inside)[known].all()


def test_tiles_add_up_to_their_scene_within_a_thousandth(grid: Grid) -> None:
    tiles = window_footprints(grid, tile_windows(grid, 64))
    whole = area_km2(grid_footprint(grid))
    assert math.fsum(map(area_km2, tiles)) == pytest.approx(whole, rel=1e-3)


def test_every_footprint_is_valid_and_keeps_its_valid_form_in_mercator(grid: Grid) -> None:
    for footprint in [grid_footprint(grid), *window_footprints(grid, tile_windows(grid, 64))]:
        assert footprint.is_valid
        assert area_km2(footprint) > 0
        west, south, east, north = footprint.bounds
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90
        assert to_mercator(footprint).is_valid


def test_a_grid_that_laps_itself_covers_the_globe_once() -> None:
    grid = Grid("EPSG:4326", (0.5, 0, -190, 0, -0.5, 90), 760, 360, 512, 512)
    footprint = grid_footprint(grid)
    assert footprint.is_valid
    assert area_km2(footprint) == pytest.approx(510_065_622, rel=1e-3)


@pytest.mark.parametrize(
    ("south", "north", "width"), [(0, 1, 1), (59, 60, 3), (-80, -79, 30), (80, 90, 360)]
)
def test_the_area_between_parallels_is_the_one_of_the_books(
    south: int, north: int, width: int
) -> None:
    # Of the authalic sphere: exact for a part of the ellipsoid between two parallels.
    geod = Geod(ellps="WGS84")
    eccentricity = math.sqrt(geod.es)

    def q(lat_deg: float) -> float:
        sin = math.sin(math.radians(lat_deg))
        part = eccentricity * sin
        log = math.log((1 - part) / (1 + part)) / (2 * eccentricity)
        return (1 - geod.es) * (sin / (1 - part * part) - log)

    expected_km2 = geod.a**2 * math.radians(width) / 2 * (q(north) - q(south)) / 1e6
    side_px = 20_000
    step_x, step_y = width / side_px, (north - south) / side_px
    grid = grids.grid("EPSG:4326", (step_x, 0, -20, 0, -step_y, north), side_px)
    assert area_km2(grid_footprint(grid)) == pytest.approx(expected_km2, rel=5e-5)


@given(
    name=st.sampled_from(sorted(HARD)),
    seed=st.integers(0, 10**6),
    size=st.floats(0.01, 1.5),
)
@settings(deadline=None, max_examples=150)
def test_a_tile_with_ground_of_the_area_is_touched(name: str, seed: int, size: float) -> None:
    """Whatever point of a random area near the scene lies in a tile, that tile is found."""
    grid = HARD[name]
    random = np.random.default_rng(seed)
    middle = random.uniform(0, [grid.width_px, grid.height_px])
    lon, lat = (float(values[0]) for values in lonlat(grid, *middle[:, None]))
    reach_deg = size * max(grid.width_px, grid.height_px) * gsd_m(grid) / 111_000
    aoi = area_round(lon, lat, min(reach_deg, 40.0))
    windows = tile_windows(grid, 64)
    touched = windows_touching(grid, windows, area_of(aoi))
    places = points_in(aoi, random)
    for columns, rows in pixels(grid, *places):
        back_lon, back_lat = lonlat(grid, columns, rows)
        known = np.isfinite(back_lon) & (np.abs(back_lat - places[1]) < 1e-6)
        for window in windows:
            inside = known & (columns > window.col_off_px + 1) & (columns < window.col_end_px - 1)
            inside &= (rows > window.row_off_px + 1) & (rows < window.row_end_px - 1)
            assert window in touched or not inside.any()
    # And what is found has ground of the area indeed.
    area = shapely.geometry.shape(aoi)
    for footprint in window_footprints(grid, touched):
        assert footprint.intersects(area)


def area_round(lon: float, lat: float, reach_deg: float) -> dict[str, object]:
    """A circle of this radius on the sphere, as a valid AOI; round a pole or across 180 too."""
    geod = Geod(a=6_371_000, b=6_371_000)
    azimuths = -np.arange(0, 361, 5.0)
    reach = np.full(azimuths.size, reach_deg * 111_000)
    lons, lats, _ = geod.fwd(
        np.full(azimuths.size, lon), np.full(azimuths.size, lat), azimuths, reach
    )
    ring = np.column_stack([lons, lats])
    ring[-1] = ring[0]
    unrolled = dateline.continuous(ring[:, 0])
    if abs(unrolled[-1] - unrolled[0]) < 180:
        ring[:, 0] = unrolled - 360 * np.round(unrolled.mean() / 360)
        ring[-1] = ring[0]
    return validate_aoi({"type": "Polygon", "coordinates": [ring.tolist()]})


def points_in(aoi: dict[str, object], random: np.random.Generator) -> tuple[Pixels, Pixels]:
    area = shapely.geometry.shape(aoi)
    found = []
    for part in area.geoms:
        west, south, east, north = part.bounds
        lon, lat = random.uniform(west, east, 400), random.uniform(south, north, 400)
        inside = shapely.contains_xy(part, lon, lat)
        found.append(np.stack([lon[inside], lat[inside]]))
    lon, lat = np.concatenate(found, axis=1)
    return lon, lat


def test_the_areas_of_the_test_cross_180_and_go_round_poles() -> None:
    assert len(area_round(179.9, -17, 1.0)["coordinates"]) == 2  # type: ignore[arg-type]
    cap = shapely.geometry.shape(area_round(10, -89, 5.0))
    assert cap.bounds[:2] == (-180, -90)
    assert mapping(cap)["type"] == "MultiPolygon"


NATIONAL = (
    2056, 2154, 2193, 2326, 2400, 3006, 3031, 3067, 3346, 3400, 3577, 3763, 3812, 3979, 4267, 4490,
    5070, 5179, 5514, 6316, 6669, 7856, 8857, 22780, 23700, 27700, 28992, 29101, 29873, 31370,
)  # fmt: skip


@pytest.mark.parametrize("code", NATIONAL)
def test_national_grids_put_their_pixels_where_they_are(code: int) -> None:
    crs = CRS.from_epsg(code)
    area = crs.area_of_use
    assert area is not None
    east = area.east if area.east >= area.west else area.east + 360
    middle = ((area.west + east) / 2 + 180) % 360 - 180, (area.south + area.north) / 2
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(*middle)
    step = 1e-3 if crs.is_geographic else 100 / crs.axis_info[0].unit_conversion_factor
    a, b = (0.8 * step, 0.6 * step) if code % 2 else (step, 0.0)
    side_px = 700
    c, f = x - (a + b) * side_px / 2, y - (b - a) * side_px / 2
    grid = grids.grid(f"EPSG:{code}", (a, b, c, b, -a, f), side_px)
    test_each_pixel_lies_in_the_footprint_of_its_tile_and_of_no_other(grid)
    test_tiles_add_up_to_their_scene_within_a_thousandth(grid)
