"""PixelPolygons of pixels on the Earth: across 180 degrees, round poles, with holes."""

import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from shapely import Polygon

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.footprint import area_km2, window_footprints
from constellation_pipelines.geo.polygons import PixelPolygons

EARTH_KM2 = 510_065_621.7  # of the WGS 84 ellipsoid


def grid(crs: str, transform: tuple[float, ...], size: tuple[int, int] = (100, 100)) -> Grid:
    a, b, c, d, e, f = transform
    return Grid(crs, (a, b, c, d, e, f), size[1], size[0], 512, 512)


UTM = grid("EPSG:32633", (10, 0, 500000, 0, -10, 5000000))
ROTATED = grid("EPSG:32633", (8, 6, 500000, 6, -8, 5000000))
LONLAT = grid("EPSG:4326", (0.01, 0, 10, 0, -0.01, 60))
ACROSS = grid("EPSG:4326", (0.01, 0, 179.5, 0, -0.01, 10))
UTM_ACROSS = grid("EPSG:32601", (1000, 0, 150000, 0, -1000, 5050000))
POLE = grid("EPSG:3031", (10_000, 0, -500_000, 0, -10_000, 500_000))
OFF_POLE = grid("EPSG:3031", (10_000, 0, -503_000, 0, -10_000, 507_000))
NORTH = grid("EPSG:3413", (10_000, 0, -503_000, 0, -10_000, 507_000))
GRIDS = [UTM, ROTATED, LONLAT, ACROSS, UTM_ACROSS, POLE, OFF_POLE, NORTH]


def box(top: int, left: int, bottom: int, right: int) -> Polygon:
    return shapely.box(left, top, right, bottom)


@pytest.mark.parametrize("of", GRIDS)
def test_a_rectangle_of_pixels_lies_where_its_pixels_lie(of: Grid) -> None:
    windows = [Window(row, column, 1, 1) for row in range(20, 35) for column in range(30, 55)]
    pixels = window_footprints(of, windows)
    placed = PixelPolygons(of).place(box(20, 30, 35, 55))
    assert placed.is_valid
    expected = shapely.union_all(pixels)
    assert shapely.symmetric_difference(placed, expected).area / expected.area < 0.005
    assert PixelPolygons(of).area_km2(placed) == pytest.approx(
        sum(map(area_km2, pixels)), rel=0.005
    )


@pytest.mark.parametrize("of", GRIDS)
def test_the_parts_of_a_grid_have_the_area_of_the_whole(of: Grid) -> None:
    earth = PixelPolygons(of)
    whole = box(0, 0, 100, 100)
    hole = box(37, 41, 63, 57)
    ring = shapely.difference(whole, hole)
    areas = [earth.area_km2(earth.place(one)) for one in (whole, hole, ring)]
    assert areas[0] == pytest.approx(areas[1] + areas[2], rel=1e-4)
    for one in (whole, hole, ring):
        placed = earth.place(one)
        assert placed.is_valid
        assert not placed.is_empty
        west, south, east, north = placed.bounds
        assert (-180 <= west, east <= 180, -90 <= south, north <= 90) == (True,) * 4


def test_what_crosses_180_degrees_is_in_two_parts() -> None:
    placed = PixelPolygons(ACROSS).place(box(10, 10, 20, 90))
    assert len(placed.geoms) == 2
    assert [round(bound, 6) for bound in placed.bounds] == [-180, 9.8, 180, 9.9]
    spans = sorted((part.bounds[0], part.bounds[2]) for part in placed.geoms)
    assert np.allclose(spans, [(-180, -179.6), (179.6, 180)])


@pytest.mark.parametrize("of", [POLE, OFF_POLE, NORTH])
def test_a_ring_round_the_pole_leaves_the_pole_out_and_a_disc_keeps_it(of: Grid) -> None:
    earth, pole_deg = PixelPolygons(of), 90.0 if of is NORTH else -90.0
    inner, outer = box(40, 40, 60, 60), box(20, 20, 80, 80)
    disc, ring = earth.place(inner), earth.place(shapely.difference(outer, inner))
    near = [shapely.Point(lon, pole_deg * 0.999) for lon in (-170, -90, -1, 1, 90, 170)]
    assert all(disc.contains(point) for point in near)
    assert not any(ring.contains(point) for point in near)
    assert earth.area_km2(ring) == pytest.approx(8 * earth.area_km2(disc), rel=0.02)


def test_a_quadrant_with_its_corner_at_the_pole_is_a_quarter_of_the_disc() -> None:
    """Pixels of polar products often have their corners there."""
    earth = PixelPolygons(POLE)
    disc = earth.area_km2(earth.place(box(30, 30, 70, 70)))
    for top, left in ((30, 30), (30, 50), (50, 30), (50, 50)):
        placed = earth.place(box(top, left, top + 20, left + 20))
        assert placed.is_valid
        assert earth.area_km2(placed) == pytest.approx(disc / 4, rel=0.01)


def test_the_whole_world_is_the_whole_world() -> None:
    world = grid("EPSG:4326", (10, 0, -180, 0, -10, 90), (18, 36))
    earth = PixelPolygons(world)
    placed = earth.place(box(0, 0, 18, 36))
    assert placed.bounds == (-180, -90, 180, 90)
    assert earth.area_km2(placed) == pytest.approx(EARTH_KM2, rel=1e-6)


@given(st.data())
def test_any_rectangle_with_a_hole_is_valid_and_loses_the_hole_s_area(data: Any) -> None:
    of = data.draw(st.sampled_from(GRIDS))
    top, left = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 90))
    height, width = data.draw(st.integers(3, 100 - top)), data.draw(st.integers(3, 100 - left))
    outer = box(top, left, top + height, left + width)
    inner = box(top + 1, left + 1, top + height - 1, left + width - 1)
    earth = PixelPolygons(of)
    placed = earth.place(shapely.difference(outer, inner))
    assert placed.is_valid
    expected = earth.area_km2(earth.place(outer)) - earth.area_km2(earth.place(inner))
    assert earth.area_km2(placed) == pytest.approx(expected, rel=0.02)


def test_an_area_is_that_of_the_geodesic() -> None:
    placed = PixelPolygons(LONLAT).place(box(0, 0, 1, 1))
    ring = np.array(placed.geoms[0].exterior.coords)
    expected_m2, _ = Geod(ellps="WGS84").polygon_area_perimeter(ring[:, 0], ring[:, 1])
    assert math.isclose(PixelPolygons(LONLAT).area_km2(placed), abs(expected_m2) / 1e6)
