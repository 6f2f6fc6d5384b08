"""An area of interest: GeoJSON from a stranger -> a MultiPolygon that can be relied on.

Nothing is mended silently. What cannot be taken as it is written is refused, with a pointer to the
place and what to do.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.geo import dateline

MAX_VERTICES = 100_000
MAX_RINGS = 2_000
MAX_LON_DEG = 540.0
# Pairs of edges whose boxes overlap: a measure of the work a shape makes, honest ones have 3 each.
PAIRS_PER_VERTEX = 8
PAIRS_SPARE = 50_000
EDGES_PER_QUERY = 64
LONGEST_EDGE_DEG = 2.0
MAX_ADDED_VERTICES = 20_000
LONLAT_CRS = re.compile(r"(.*\bOGC\b.*\bCRS84|.*\bEPSG:+(\d+(\.\d+)*)?:?4326)", re.IGNORECASE)
HOW_TO_CROSS = (
    "write a shape across 180 degrees with longitudes that go on beyond 180 (170 to 190), "
    "or cut it there into two polygons"
)

Ring = NDArray[np.float64]


def validate_aoi(geojson: object, at: str = "aoi") -> dict[str, Any]:
    """The area as a GeoJSON MultiPolygon in lon/lat, split at 180 degrees, without overlaps.

    Takes a Polygon, MultiPolygon, Feature or FeatureCollection (the union of its features).
    Heights are dropped; edges longer than 2 degrees get points between, for they are straight in
    lon/lat and not on the Earth. Raises InvalidInput whose `field` points at the fault, such as
    `aoi.coordinates[0][12]`; `at` is the member that the document came in.
    """
    try:
        return _validated(geojson)
    except InvalidInput as error:
        if at == "aoi" or error.field is None:
            raise
        text, field = (one.removeprefix("aoi") for one in (error.message, error.field))
        raise InvalidInput(at + text, field=at + field) from error


def _validated(geojson: object) -> dict[str, Any]:
    polygons = _read(geojson)
    _check_work([ring for rings in polygons for ring in rings.values()])
    parts = [part for rings in polygons for part in _build(rings)]
    if not MultiPolygon(parts).is_valid:  # some overlap or share an edge
        parts = _union(parts)
    area = MultiPolygon(list(shapely.segmentize(parts, _edge_limit_deg(parts))))
    document: dict[str, Any] = json.loads(shapely.to_geojson(shapely.orient_polygons(area)))
    return document


def too_many_vertices(at: str, came: str) -> InvalidInput:
    """The refusal of an area with more vertices than one may have; `came` is how many it has."""
    return InvalidInput(
        f"{at}: {came} vertices came, and an area may have {MAX_VERTICES}: simplify the shape, or "
        "split it among several requests",
        field=at,
    )


# ---- reading ----


def _read(geojson: object) -> list[dict[str, Ring]]:
    """Every polygon as its rings by their pointers, the outer one first, within the limits."""
    polygons = []
    rings_left, vertices_left = MAX_RINGS, MAX_VERTICES
    for at, coordinates in _polygons(geojson):
        values = _items(coordinates, at, "rings")
        rings_left -= len(values)
        if rings_left < 0:
            _refuse("aoi", f"more than {MAX_RINGS} rings: simplify the shape")
        rings = {}
        for index, value in enumerate(values):
            pointer = f"{at}[{index}]"
            positions = _items(value, pointer, "positions")
            vertices_left -= len(positions)
            if vertices_left < 0:
                raise too_many_vertices("aoi", f"at least {MAX_VERTICES - vertices_left}")
            rings[pointer] = _read_ring(positions, pointer)
        polygons.append(rings)
    return polygons


def _polygons(geojson: object) -> Iterator[tuple[str, object]]:
    """The coordinates of every polygon of the document, each with the pointer to it."""
    document = _mapping(geojson, "aoi")
    _check_crs(document, "aoi")
    if document.get("type") != "FeatureCollection":
        yield from _polygons_of_feature(document, "aoi")
        return
    features = _items(document.get("features"), "aoi.features", "features")
    for index, value in enumerate(features):
        at = f"aoi.features[{index}]"
        feature = _mapping(value, at)
        if feature.get("type") != "Feature":
            _refuse(f"{at}.type", "must be Feature")
        yield from _polygons_of_feature(feature, at)


def _polygons_of_feature(document: dict[str, Any], at: str) -> Iterator[tuple[str, object]]:
    if document.get("type") == "Feature":
        at = f"{at}.geometry"
        document = _mapping(document.get("geometry"), at)
    kind, coordinates = document.get("type"), document.get("coordinates")
    if kind == "Polygon":
        yield f"{at}.coordinates", coordinates
    elif kind == "MultiPolygon":
        parts = _items(coordinates, f"{at}.coordinates", "polygons")
        yield from ((f"{at}.coordinates[{index}]", part) for index, part in enumerate(parts))
    else:
        _refuse(
            f"{at}.type", "must be Polygon, MultiPolygon, Feature or FeatureCollection of polygons"
        )


def _check_crs(document: dict[str, Any], at: str) -> None:
    crs = document.get("crs")
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not (isinstance(name, str) and len(name) < 100 and LONLAT_CRS.fullmatch(name)):
        _refuse(
            f"{at}.crs",
            "coordinates must be longitude and latitude in degrees (EPSG:4326): "
            "reproject the file and leave `crs` out",
        )


def _read_ring(positions: list[Any] | tuple[Any, ...], at: str) -> Ring:
    ring = np.array([_read_position(position, at, i) for i, position in enumerate(positions)])
    if len(ring) < 4:
        _refuse(at, "a ring needs at least four positions, the last equal to the first")
    if (ring[0] != ring[-1]).any():
        _refuse(f"{at}[{len(ring) - 1}]", "the ring is not closed: repeat its first position here")
    return ring


def _read_position(value: object, at: str, index: int) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or not 2 <= len(value) <= 3:
        _refuse(f"{at}[{index}]", "must be [longitude, latitude]")
    lon, lat = value[0], value[1]
    for number in value:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            _refuse(f"{at}[{index}]", "must hold numbers")
        if isinstance(number, float) and not math.isfinite(number):
            _refuse(f"{at}[{index}]", "must hold finite numbers")
    if abs(lat) > 90 or abs(lon) > MAX_LON_DEG:
        _refuse(
            f"{at}[{index}]",
            "is not longitude, latitude in degrees; reproject projected coordinates to EPSG:4326",
        )
    return float(lon), float(lat)


def _mapping(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(at, "must be a GeoJSON object")
    return value


def _items(value: object, at: str, what: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _refuse(at, f"must be a list of {what}")
    if not value:
        _refuse(at, f"holds no {what}")
    return value


def _refuse(at: str, text: str) -> NoReturn:
    raise InvalidInput(f"{at}: {text}", field=at)


# ---- building ----


def _check_work(rings: list[Ring]) -> None:
    """Refuse shapes that would take minutes to compare with themselves and each other."""
    ends = np.concatenate([np.hstack([ring[:-1], ring[1:]]) for ring in rings])
    low, high = np.minimum(ends[:, :2], ends[:, 2:]), np.maximum(ends[:, :2], ends[:, 2:])
    boxes = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    tree = shapely.STRtree(boxes)
    left = PAIRS_SPARE + PAIRS_PER_VERTEX * len(boxes)
    for start in range(0, len(boxes), EDGES_PER_QUERY):
        left -= tree.query(boxes[start : start + EDGES_PER_QUERY]).shape[1]
        if left < 0:
            _refuse("aoi", "too many edges cross or lie close together: simplify the shape")


def _build(rings: dict[str, Ring]) -> list[Polygon]:
    """The polygons in -180..180 of one polygon's rings."""
    pointers = list(rings)
    outer, *holes = (_unroll(ring, at) for at, ring in rings.items())
    if _goes_round(outer):
        if holes:
            _refuse(pointers[1], "a hole in a shape round a pole is not supported")
        turn = np.array([outer[-1, 0] - outer[0, 0], 0.0])
        twice = np.concatenate([outer, outer[1:] + turn])
        if not shapely.LineString(twice).is_simple:
            _refuse(pointers[0], "mend the ring so that it does not touch or cross itself")
        return dateline.split_ring(outer[:, 0], outer[:, 1])
    for ring, at in zip((outer, *holes), pointers, strict=True):
        _check_shape(Polygon(ring), at)
    west, east = outer[:, 0].min(), outer[:, 0].max()
    if east - west > dateline.TURN_DEG:
        _refuse(pointers[0], "is wider than the globe")
    polygon = Polygon(outer, holes)
    if holes:
        _check_shape(polygon, pointers[0].rpartition("[")[0])
    return dateline.split_at_180(polygon)


def _unroll(ring: Ring, at: str) -> Ring:
    """The ring with continuous longitudes.

    An edge of more than 180 degrees may mean the long way or the short way round: it is refused,
    save when the ring as a whole goes round a pole, or the edge spans the whole globe.
    """
    steps = np.abs(np.diff(ring[:, 0]))
    long = (steps > 180) & (steps < dateline.TURN_DEG)
    if not long.any():
        return ring
    unrolled = np.column_stack([dateline.continuous(ring[:, 0]), ring[:, 1]])
    if not _goes_round(unrolled):
        vertex = int(long.argmax())
        _refuse(
            f"{at}[{vertex + 1}]",
            f"the edge to this position spans more than 180 degrees: {HOW_TO_CROSS}; "
            "give an edge of a wide shape a position between",
        )
    if not ((ring[:, 1] > 0).all() or (ring[:, 1] < 0).all()):
        _refuse(at, "goes round the globe on both sides of the equator: cut it into two polygons")
    return unrolled


def _goes_round(ring: Ring) -> bool:
    return bool(abs(ring[-1, 0] - ring[0, 0]) > dateline.TURN_DEG / 2)


def _check_shape(polygon: Polygon, at: str) -> None:
    if not polygon.is_valid:
        reason = shapely.is_valid_reason(polygon)
        _refuse(at, f"{reason[:100]}: mend the ring so that it does not touch or cross itself")
    if not polygon.area > 0:
        _refuse(at, "encloses no area")


def _union(parts: list[Polygon]) -> list[Polygon]:
    try:
        return dateline.polygons_of(shapely.union_all(parts))
    except shapely.errors.GEOSException as error:
        raise InvalidInput(
            "aoi: its polygons cannot be united: simplify them", field="aoi"
        ) from error


def _edge_limit_deg(parts: list[Polygon]) -> float:
    """Edges may be this long; long enough that cutting them adds few vertices."""
    return max(LONGEST_EDGE_DEG, float(shapely.length(parts).sum()) / MAX_ADDED_VERTICES)
