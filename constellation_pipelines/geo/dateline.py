"""Rings and polygons in lon/lat that cross 180 degrees, go round a pole or the globe."""

import math
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon
from shapely.affinity import translate

TURN_DEG = 360.0
# Where what goes round the globe is cut, at longitudes nobody asks about, and how far apart.
SEAMS_DEG = (-93.37, -3.37, 86.63)
GAP_DEG = 1e-9
LONGEST_EDGE_DEG = 60.0


def continuous(lon_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes along rings (last axis) without jumps: each step is the short way round.

    Whole turns are added and nothing else, so that a ring that closed still does, to the last bit.
    """
    turns = np.rint(np.diff(lon_deg, axis=-1, prepend=lon_deg[..., :1]) / TURN_DEG)
    return np.asarray(lon_deg - TURN_DEG * np.cumsum(turns, axis=-1))


def split_ring(
    lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64], pole_deg: float | None = None
) -> list[Polygon]:
    """Polygons in -180..180 of a closed ring of continuous longitudes.

    A ring that goes once round the globe encloses the pole at the latitude `pole_deg`, or where
    that is not given the one of its own hemisphere.
    """
    turn_deg = lon_deg[-1] - lon_deg[0]
    if abs(turn_deg) < TURN_DEG / 2:
        return split_at_180(Polygon(np.column_stack([lon_deg, lat_deg])))
    # Twice round, then cut to one whole globe: the cap has no seam but the one at 180.
    if pole_deg is None:
        pole_deg = math.copysign(90.0, float(lat_deg.mean()))
    lon_deg = np.concatenate([lon_deg, lon_deg[1:] + turn_deg])
    lat_deg = np.concatenate([lat_deg, lat_deg[1:], [pole_deg, pole_deg]])
    lon_deg = np.concatenate([lon_deg, [lon_deg[-1], lon_deg[0]]])
    west = math.ceil((lon_deg.min() + 180) / TURN_DEG) * TURN_DEG - 180
    cap = _cut(Polygon(np.column_stack([lon_deg, lat_deg])), west, west + TURN_DEG)
    return [translate(part, -180 - west) for part in cap]


def split_at_180(polygon: Polygon) -> list[Polygon]:
    """Cut a polygon of continuous longitudes at 180 degrees and bring each part to -180..180."""
    parts = []
    west, _, east, _ = polygon.bounds
    first, last = math.floor((west + 180) / TURN_DEG), math.ceil((east - 180) / TURN_DEG)
    for turn in range(first, max(first, last) + 1):
        shift = TURN_DEG * turn
        for part in _cut(polygon, shift - 180, shift + 180):
            parts.append(translate(part, -shift) if turn else part)
    # What went more than half round may meet itself on the other side.
    return parts if east - west <= TURN_DEG / 2 else polygons_of(shapely.union_all(parts))


def slices(polygon: Polygon) -> list[Polygon]:
    """The polygon in pieces no wider than half the globe, so that each has an unmistakable inside.

    On a sphere a wider polygon cannot be told from its complement.
    """
    west, _, east, _ = polygon.bounds
    if east - west <= TURN_DEG / 2:
        return [polygon]
    edges = np.arange(west, east, TURN_DEG / 4)
    return [part for edge in edges for part in _cut(polygon, edge, edge + TURN_DEG / 4)]


def unmistakable(parts: list[Polygon]) -> list[Polygon]:
    """The polygons, the wide ones in quarters of the globe.

    PostGIS takes the smaller side of a ring on the sphere for its inside. A cap round a pole that
    stays in its hemisphere is that side; what else is wider than half the globe may not be. As a
    valid multipolygon has no two parts with a common edge, a tenth of a millimetre is between them.
    An edge from pole to pole, of which it does not know the way, gets points between.
    """
    edges = (-TURN_DEG / 2, *SEAMS_DEG, TURN_DEG / 2)
    found = []
    for part in parts:
        west, south, east, north = part.bounds
        cap = (south == -90 and north < 0) or (north == 90 and south > 0)
        if east - west <= TURN_DEG / 2 or cap:
            found.append(part)
            continue
        for left, right in pairwise(edges):
            found += _cut(part, left, right if right == edges[-1] else right - GAP_DEG)
    return [shapely.segmentize(part, LONGEST_EDGE_DEG) for part in found]


def polygons_of(geometry: shapely.Geometry) -> list[Polygon]:
    """The polygons of a geometry with an area; points and lines are left out."""
    parts = shapely.get_parts(geometry, return_index=False)
    return [
        polygon
        for part in parts
        for polygon in (part.geoms if isinstance(part, MultiPolygon) else [part])
        if isinstance(polygon, Polygon) and polygon.area > 0
    ]


def bounds(footprint: MultiPolygon) -> tuple[float, float, float, float]:
    """West, south, east, north of a footprint; west is greater than east across 180 degrees."""
    west, south, east, north = footprint.bounds
    spans = sorted((part.bounds[0], part.bounds[2]) for part in footprint.geoms)
    if west > -180 or east < 180:
        return west, south, east, north
    reach = -180.0
    widest, gap = 2 * GAP_DEG, (west, east)
    for part_west, part_east in spans:
        if part_west - reach > widest:
            widest, gap = part_west - reach, (part_west, reach)
        reach = max(reach, part_east)
    return gap[0], south, gap[1], north


def _cut(polygon: Polygon, west: float, east: float) -> list[Polygon]:
    if west <= polygon.bounds[0] and polygon.bounds[2] <= east:
        return [polygon]
    return polygons_of(shapely.intersection(polygon, shapely.box(west, -90.0, east, 90.0)))
