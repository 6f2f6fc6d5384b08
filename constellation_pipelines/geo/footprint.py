"""Footprints on the Earth of a pixel grid and of windows in it."""

import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from shapely import MultiPolygon

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.outline import Outlines, outlines, rings
from constellation_pipelines.geo.projecting import from_lonlat, is_geographic, to_lonlat, to_map

Coordinates = NDArray[np.float64]

EDGE_POINTS = 8  # points a scene's edge is drawn with at least
TILE_EDGE_POINTS = 2  # corners and midpoints
WIDE_EDGE_POINTS = 32
WIDE_EDGE_M = 500_000.0  # from here on a straight edge is visibly curved on the Earth
# Of the distance from the map's origin, some metres: intersections are no finer than that.
SMALLEST = 5e-7
THINNEST = 1e-3  # a pixel's area beside the square of its longer side
MERCATOR_LIMIT_DEG = 85.0511287798066
MERCATOR_RADIUS_M = 6_378_137.0
FOLDED = "its grid folds over itself or has no area on the Earth: check its CRS and transform"


def grid_footprint(grid: Grid) -> MultiPolygon:
    """Footprint of the whole grid in lon/lat (EPSG:4326), split at 180 degrees.

    Raises SceneRefused when the grid does not lie on the Earth.
    """
    _check_pixels(grid)
    whole = Window(0, 0, grid.height_px, grid.width_px)
    _check_way_back(grid, *rings([whole], EDGE_POINTS))
    footprint = _footprints(grid, [whole], EDGE_POINTS)[0]
    if footprint.is_empty or not footprint.is_valid or not area_km2(footprint) > 0:
        raise SceneRefused(FOLDED)
    return footprint


def _check_pixels(grid: Grid) -> None:
    """Refuse pixels that are lines, and grids too small for their place on the map."""
    a, b, c, d, e, f = grid.transform
    longer = max(math.hypot(a, d), math.hypot(b, e))
    extent = longer * max(grid.width_px, grid.height_px)
    too_small = not extent > SMALLEST * math.hypot(c, f)
    if too_small or not abs(a * e - b * d) > THINNEST * longer * longer:
        raise SceneRefused(FOLDED)


def window_footprints(grid: Grid, windows: Sequence[Window]) -> list[MultiPolygon]:
    """Footprints of windows in lon/lat (EPSG:4326), in their order, split at 180 degrees.

    Neighbours share their corners exactly. Raises SceneRefused when one is not on the Earth.
    """
    if not windows:
        return []
    footprints = np.array(_footprints(grid, windows, TILE_EDGE_POINTS), dtype=object)
    # Rounding lets the outline of a thin tile far from its projection's centre cross itself.
    for index in (~shapely.is_valid(footprints)).nonzero()[0]:
        parts = dateline.polygons_of(shapely.make_valid(footprints[index]))
        if not parts:
            raise SceneRefused(FOLDED)
        footprints[index] = MultiPolygon(parts)
    return list(footprints)


def to_mercator(footprint: MultiPolygon) -> MultiPolygon:
    """The footprint in EPSG:3857, clipped to 85.0511 degrees; empty when it lies beyond."""
    _, south, _, north = footprint.bounds
    if south < -MERCATOR_LIMIT_DEG or north > MERCATOR_LIMIT_DEG:
        band = shapely.box(-180.0, -MERCATOR_LIMIT_DEG, 180.0, MERCATOR_LIMIT_DEG)
        footprint = MultiPolygon(dateline.polygons_of(shapely.intersection(footprint, band)))
    projected: MultiPolygon = shapely.transform(footprint, _mercator)
    return projected


def area_km2(footprint: MultiPolygon) -> float:
    """Area on the WGS 84 ellipsoid; edges are geodesics."""
    geod = Geod(ellps="WGS84")
    parts = (part for polygon in footprint.geoms for part in dateline.slices(polygon))
    areas = (abs(geod.geometry_area_perimeter(part)[0]) for part in parts)
    return math.fsum(areas) / 1e6


def gsd_m(grid: Grid) -> float:
    """Ground size in metres of the pixel at the grid's centre: the root of width times height.

    Raises SceneRefused when the grid's centre is not on the Earth.
    """
    width_m, height_m = pixel_size_m(grid)
    return math.sqrt(width_m * height_m)


def pixel_size_m(grid: Grid) -> tuple[float, float]:
    """Width and height on the ground, in metres, of the pixel at the grid's centre.

    Raises SceneRefused when the grid's centre is not on the Earth.
    """
    column, row = grid.width_px / 2, grid.height_px / 2
    columns = np.array([column - 0.5, column + 0.5, column, column])
    rows = np.array([row, row, row - 0.5, row + 0.5])
    lon_deg, lat_deg = to_lonlat(grid, columns, rows)
    _, _, sizes_m = Geod(ellps="WGS84").inv(
        lon_deg[[0, 2]], lat_deg[[0, 2]], lon_deg[[1, 3]], lat_deg[[1, 3]]
    )
    return float(sizes_m[0]), float(sizes_m[1])


def _footprints(grid: Grid, windows: Sequence[Window], edge_points: int) -> list[MultiPolygon]:
    pixel_m = gsd_m(grid)
    longest_px = max(max(window.width_px, window.height_px) for window in windows)
    if longest_px * pixel_m > WIDE_EDGE_M:
        edge_points = WIDE_EDGE_POINTS
    drawn = outlines(grid, windows, edge_points, pixel_m)
    try:
        return _polygons(grid, drawn)
    except shapely.errors.GEOSException as error:  # of outlines that cross themselves
        raise SceneRefused(FOLDED) from error


def _check_way_back(grid: Grid, columns: Coordinates, rows: Coordinates) -> None:
    """Refuse a grid that reaches over the edge of its projection.

    Out there a projection answers with some place on the other side of the Earth, so the way back
    does not lead to where it began. Whole turns round the Earth, the same for every point that
    makes one, are fine: so are scenes across 180 degrees written.
    """
    x, y = to_map(grid, columns, rows)
    off = np.stack(from_lonlat(grid, *to_lonlat(grid, columns, rows)), axis=-1)
    off -= np.stack([x, y], axis=-1)
    tolerance = max(0.01 * float(np.ptp(x)), 0.01 if is_geographic(grid) else 1000.0)
    far = off[~(np.abs(off) <= tolerance).all(axis=-1)]
    if far.size and not (np.ptp(far, axis=0) <= tolerance).all():
        raise SceneRefused("part of its grid lies beyond the edge of its map projection")


def _polygons(grid: Grid, drawn: Outlines) -> list[MultiPolygon]:
    """One footprint per outline."""
    lon_deg, lat_deg, starts = drawn
    ends = np.append(starts[1:], lon_deg.size)
    west, east = (pick.reduceat(lon_deg, starts) for pick in (np.minimum, np.maximum))
    turn_deg = lon_deg[ends - 1] - lon_deg[starts]
    plain = (west >= -180) & (east <= 180) & (np.abs(turn_deg) < dateline.TURN_DEG / 2)
    footprints = np.empty(starts.size, dtype=object)
    sizes = ends - starts
    whole = np.repeat(plain, sizes)
    numbers = np.repeat(np.cumsum(plain) - 1, sizes)[whole]
    lonlat = np.stack([lon_deg[whole], lat_deg[whole]], axis=-1)
    rings = shapely.linearrings(lonlat, indices=numbers)
    footprints[plain] = shapely.multipolygons(shapely.polygons(rings)[:, None])
    for index in (~plain).nonzero()[0]:
        part = slice(starts[index], ends[index])
        pole_deg = _pole_deg(grid, float(turn_deg[index]))
        parts = dateline.split_ring(lon_deg[part], lat_deg[part], pole_deg)
        footprints[index] = MultiPolygon(dateline.unmistakable(parts))
    wide = (plain & (east - west > dateline.TURN_DEG / 2)).nonzero()[0]
    for index in wide:
        footprints[index] = MultiPolygon(dateline.unmistakable(list(footprints[index].geoms)))
    return list(shapely.orient_polygons(footprints))


def _pole_deg(grid: Grid, turn_deg: float) -> float:
    """The pole in an outline that goes once round the globe: the one on its inner side.

    Outlines of grids that are not mirrored have their inside on the left.
    """
    a, b, _, d, e, _ = grid.transform
    return math.copysign(90.0, turn_deg if a * e < b * d else -turn_deg)


def _mercator(lonlat: Coordinates) -> Coordinates:
    lon, lat = np.radians(lonlat).T
    return MERCATOR_RADIUS_M * np.column_stack([lon, np.arcsinh(np.tan(lat))])
