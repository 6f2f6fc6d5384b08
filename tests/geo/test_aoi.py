import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.geo.aoi import MAX_RINGS, MAX_VERTICES, validate_aoi
from constellation_pipelines.geo.footprint import area_km2

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def multipolygon(*polygons: Any) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": list(polygons)}


def feature(geometry: object) -> dict[str, Any]:
    return {"type": "Feature", "properties": {}, "geometry": geometry}


def collection(*features: object) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def shape(aoi: object) -> shapely.MultiPolygon:
    result = validate_aoi(aoi)
    assert result["type"] == "MultiPolygon"
    area = shapely.geometry.shape(result)
    assert isinstance(area, shapely.MultiPolygon)
    assert area.is_valid
    return area


def refusal(aoi: object) -> InvalidInput:
    began = time.process_time()
    with pytest.raises(InvalidInput) as caught:
        validate_aoi(aoi)
    assert time.process_time() - began < 1
    assert caught.value.field is not None
    assert caught.value.message.startswith(caught.value.field)
    return caught.value


@pytest.mark.parametrize(
    "aoi",
    [
        polygon(SQUARE),
        multipolygon([SQUARE]),
        feature(polygon(SQUARE)),
        collection(feature(polygon(SQUARE))),
        polygon(SQUARE[::-1]),
        polygon([[x, y, 250.5] for x, y in SQUARE]),
        polygon([[x + 360, y] for x, y in SQUARE]),
        polygon([tuple(position) for position in SQUARE]),
        {**polygon(SQUARE), "crs": {"properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}},
        {**polygon(SQUARE), "crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}},
        {**polygon(SQUARE), "crs": {"properties": {"name": "EPSG:4326"}}},
    ],
)
def test_the_forms_of_geojson_give_the_same_area(aoi: object) -> None:
    area = shape(aoi)
    assert area.equals(shapely.box(0, 0, 1, 1))
    assert not area.has_z
    assert area.geoms[0].exterior.is_ccw


def test_the_features_of_a_collection_are_united() -> None:
    other = [[x + 0.5, y] for x, y in SQUARE]
    area = shape(collection(feature(polygon(SQUARE)), feature(polygon(other))))
    assert area.equals(shapely.box(0, 0, 1.5, 1))


def test_holes_stay_holes() -> None:
    hole = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.2, 0.2]]
    assert shape(polygon(SQUARE, hole)).area == pytest.approx(1 - 0.36)


def test_the_result_is_a_valid_aoi_that_stays_the_same() -> None:
    ring = [[170, -20], [215, -20], [215, 20], [170, 20], [170, -20]]
    once = validate_aoi(polygon(ring))
    assert validate_aoi(once) == once


def test_long_edges_get_points_between() -> None:
    area = shape(polygon([[0, 60], [40, 60], [40, 61], [0, 61], [0, 60]]))
    steps = np.diff(shapely.get_coordinates(area.geoms[0].exterior), axis=0)
    assert np.abs(steps).max() <= 2
    assert area.equals(shapely.box(0, 60, 40, 61))


@pytest.mark.parametrize(
    ("name", "km2"),
    [("lesotho", 27_506), ("netherlands", 40_024), ("fiji", 19_290)],
)
def test_countries_keep_their_area(sample_data: Path, name: str, km2: float) -> None:
    source = json.loads((sample_data / "aoi" / f"{name}.geojson").read_text())
    area = shape(source)
    geometry = source["features"][0]["geometry"]
    assert area.symmetric_difference(shapely.geometry.shape(geometry)).area < 1e-9
    assert area_km2(area) == pytest.approx(km2, rel=0.01)


def test_longitudes_beyond_180_are_split_there(sample_data: Path) -> None:
    name = "antimeridian_crossing_lon_gt_180.geojson"
    area = shape(json.loads((sample_data / "aoi" / name).read_text()))
    expected = [shapely.box(140, -20, 180, 20), shapely.box(-180, -20, -140, 20)]
    assert area.equals(shapely.MultiPolygon(expected))
    # The zone between two parallels, 80 of 360 degrees of it, on a sphere.
    sphere_km2 = 2 * math.pi * 6371.0**2 * 2 * math.sin(math.radians(20)) * 80 / 360
    assert area_km2(area) == pytest.approx(sphere_km2, rel=0.01)


def test_a_ring_round_the_pole_is_the_polar_cap(sample_data: Path) -> None:
    area = shape(json.loads((sample_data / "aoi" / "north_pole_ring.geojson").read_text()))
    assert area.equals(shapely.box(-180, 40, 180, 90))


@pytest.mark.parametrize("direction", [1, -1])
def test_a_ring_round_the_south_pole_is_the_other_cap(direction: int) -> None:
    ring = [[0, -80], [120, -80], [-120, -80], [0, -80]][::direction]
    assert shape(polygon(ring)).equals(shapely.box(-180, -90, 180, -80))


def test_the_whole_world_is_the_whole_world() -> None:
    world = polygon([[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]])
    assert area_km2(shape(world)) == pytest.approx(510_065_622, rel=1e-6)


def test_projected_coordinates_are_refused_by_their_crs(sample_data: Path) -> None:
    source = json.loads((sample_data / "aoi" / "slovenia_border.geojson").read_text())
    error = refusal(source)
    assert error.field == "aoi.crs"
    assert "EPSG:4326" in error.message


def test_projected_coordinates_are_refused_by_their_values(sample_data: Path) -> None:
    source = json.loads((sample_data / "aoi" / "slovenia_border.geojson").read_text())
    del source["crs"]
    error = refusal(source)
    assert error.field == "aoi.features[0].geometry.coordinates[0][0][0]"
    assert "EPSG:4326" in error.message


def test_an_invalid_ring_is_named(sample_data: Path) -> None:
    path = sample_data / "aoi" / "san_francisco_neighbourhoods.geojson"
    source = json.loads(path.read_text())
    error = refusal(source)
    assert error.field is not None
    index = int(error.field.removeprefix("aoi.features[").partition("]")[0])
    named = shapely.geometry.shape(source["features"][index]["geometry"])
    assert not named.is_valid
    before = [shapely.geometry.shape(f["geometry"]) for f in source["features"][:index]]
    assert all(geometry.is_valid for geometry in before)


def test_the_neighbourhoods_that_are_valid_are_united(sample_data: Path) -> None:
    path = sample_data / "aoi" / "san_francisco_neighbourhoods.geojson"
    source = json.loads(path.read_text())
    valid = [f for f in source["features"] if shapely.geometry.shape(f["geometry"]).is_valid]
    expected = shapely.union_all([shapely.geometry.shape(f["geometry"]) for f in valid])
    assert shape({**source, "features": valid}).area == pytest.approx(expected.area)


NAN, INF = float("nan"), float("inf")
HOSTILE: dict[str, tuple[object, str]] = {
    "no object": (None, "aoi"),
    "a list": ([], "aoi"),
    "a number": (5, "aoi"),
    "an empty object": ({}, "aoi.type"),
    "a point": ({"type": "Point", "coordinates": [0, 0]}, "aoi.type"),
    "a collection of geometries": ({"type": "GeometryCollection", "geometries": []}, "aoi.type"),
    "a type that is a list": ({"type": ["Polygon"], "coordinates": []}, "aoi.type"),
    "no features": (collection(), "aoi.features"),
    "features that are no list": ({"type": "FeatureCollection", "features": "x"}, "aoi.features"),
    "a feature that is none": (collection(polygon(SQUARE)), "aoi.features[0].type"),
    "a feature without geometry": (
        collection(feature(polygon(SQUARE)), feature(None)),
        "aoi.features[1].geometry",
    ),
    "a collection in a collection": (collection(collection()), "aoi.features[0].type"),
    "no polygons": (multipolygon(), "aoi.coordinates"),
    "no rings": (polygon(), "aoi.coordinates"),
    "an empty ring": (polygon([]), "aoi.coordinates[0]"),
    "coordinates that are text": ({"type": "Polygon", "coordinates": "x"}, "aoi.coordinates"),
    "coordinates missing": ({"type": "Polygon"}, "aoi.coordinates"),
    "too few positions": (polygon([[0, 0], [1, 1], [0, 0]]), "aoi.coordinates[0]"),
    "a ring that is open": (polygon(SQUARE[:-1]), "aoi.coordinates[0][3]"),
    "NaN": (polygon([*SQUARE[:2], [1, NAN], *SQUARE[3:]]), "aoi.coordinates[0][2]"),
    "infinity": (polygon([*SQUARE[:2], [INF, 1], *SQUARE[3:]]), "aoi.coordinates[0][2]"),
    "a position of one number": (polygon([[0], *SQUARE[1:]]), "aoi.coordinates[0][0]"),
    "a position of five numbers": (polygon([[0] * 5, *SQUARE[1:]]), "aoi.coordinates[0][0]"),
    "text for numbers": (polygon([["0", "0"], *SQUARE[1:]]), "aoi.coordinates[0][0]"),
    "truth for numbers": (polygon([[True, False], *SQUARE[1:]]), "aoi.coordinates[0][0]"),
    "a height that is text": (polygon([[0, 0, "x"], *SQUARE[1:]]), "aoi.coordinates[0][0]"),
    "a number of 400 digits": (polygon([[10**400, 0], *SQUARE[1:]]), "aoi.coordinates[0][0]"),
    "latitude beyond 90": (polygon([*SQUARE[:2], [1, 91], *SQUARE[3:]]), "aoi.coordinates[0][2]"),
    "longitude far off": (polygon([*SQUARE[:2], [999, 1], *SQUARE[3:]]), "aoi.coordinates[0][2]"),
    "a bow tie": (polygon([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]), "aoi.coordinates[0]"),
    "a line for an area": (polygon([[0, 0], [1, 1], [2, 2], [0, 0]]), "aoi.coordinates[0]"),
    "a point for an area": (polygon([[5, 5]] * 4), "aoi.coordinates[0]"),
    "a hole outside": (polygon(SQUARE, [[x + 5, y] for x, y in SQUARE]), "aoi.coordinates"),
    "a second bad polygon": (multipolygon([SQUARE], [SQUARE[:-1]]), "aoi.coordinates[1][0][3]"),
    "another crs": ({**polygon(SQUARE), "crs": {"properties": {"name": "EPSG:3857"}}}, "aoi.crs"),
    "a crs that is a number": ({**polygon(SQUARE), "crs": 4326}, "aoi.crs"),
    "a jump across 180": (
        polygon([[170, 0], [-170, 0], [-170, 10], [170, 10], [170, 0]]),
        "aoi.coordinates[0][1]",
    ),
    "wider than the globe": (
        polygon([[-200, 0], [-100, 0], [100, 0], [200, 0], [0, 9], [-200, 0]]),
        "aoi.coordinates[0]",
    ),
    "round the globe on both sides of the equator": (
        polygon([[0, -10], [120, 20], [-120, 20], [0, -10]]),
        "aoi.coordinates[0]",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_taken_is_refused_with_its_place(name: str) -> None:
    aoi, field = HOSTILE[name]
    assert refusal(aoi).field == field


def test_a_hundred_thousand_nested_lists_are_refused() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert refusal(polygon(nested)).field == "aoi.coordinates[0][0]"
    assert refusal(feature(nested)).field == "aoi.geometry"


def test_too_many_vertices_are_refused_and_the_most_allowed_are_taken_within_a_second() -> None:
    angles = np.linspace(0, 2 * np.pi, MAX_VERTICES)
    ring = np.column_stack([np.cos(angles), np.sin(angles)]).tolist()
    ring[-1] = ring[0]
    began = time.process_time()
    area = shape(polygon(ring))
    assert time.process_time() - began < 2
    assert area.area == pytest.approx(math.pi, rel=1e-4)
    assert str(MAX_VERTICES) in refusal(polygon([*ring, ring[0]])).message


def test_too_many_rings_are_refused() -> None:
    many = [[[[x + i, y] for x, y in SQUARE]] for i in range(3)] * (MAX_RINGS // 3 + 1)
    assert str(MAX_RINGS) in refusal(multipolygon(*many)).message


def needles(count: int) -> list[list[float]]:
    """A comb of thin slanted teeth that cross nothing, but whose boxes all overlap."""
    ring: list[list[float]] = []
    for i in range(count):
        x = i * 1e-4
        ring += [[x, 0], [x + 5, 5], [x + 5.00003, 5], [x + 6e-5, 0]]
    return [*ring, [10, -1], [0, -1], ring[0]]


def strips(count: int) -> list[list[list[list[float]]]]:
    """Horizontal and vertical strips that cross count * count times."""
    wide = [[[0, y], [9, y], [9, y + 2e-3], [0, y + 2e-3], [0, y]] for y in np.arange(count) * 4e-3]
    high = [[[y, x] for x, y in ring] for ring in wide]
    return [[[[float(x), float(y)] for x, y in ring]] for ring in wide + high]


def random_walk(count: int) -> list[list[float]]:
    walk: list[list[float]] = np.random.default_rng(0).uniform(-80, 80, (count, 2)).tolist()
    return [*walk, walk[0]]


@pytest.mark.parametrize(
    "aoi", [polygon(needles(24_000)), multipolygon(*strips(900)), polygon(random_walk(99_000))]
)
def test_shapes_that_cost_minutes_to_compare_are_refused_at_once(aoi: dict[str, Any]) -> None:
    assert "simplify" in refusal(aoi).message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda children: (
            st.lists(children, max_size=5)
            | st.dictionaries(
                st.sampled_from(["type", "coordinates", "geometry", "features", "crs"]), children
            )
        ),
        max_leaves=30,
    )
)
def test_nothing_but_invalid_input_comes_of_nonsense(value: object) -> None:
    for aoi in (value, polygon(value), multipolygon(value), feature(value), collection(value)):
        with pytest.raises(InvalidInput):
            validate_aoi(aoi)


@given(
    west=st.floats(-360, 350),
    south=st.floats(-90, 89),
    width=st.floats(0.01, 170),
    height=st.floats(0.01, 90),
)
@settings(deadline=None, max_examples=60)
def test_any_box_keeps_its_area_and_lies_within_180(
    west: float, south: float, width: float, height: float
) -> None:
    north = min(90.0, south + height)
    area = shape(shapely.geometry.mapping(shapely.box(west, south, west + width, north)))
    assert area.area == pytest.approx(width * (north - south), rel=1e-6)
    assert -180 <= area.bounds[0] <= area.bounds[2] <= 180
