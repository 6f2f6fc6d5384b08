"""Footprints on the Earth of a pixel grid and of windows in it."""

import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely import MultiPolygon

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline

Coordinates = NDArray[np.float64]

EDGE_POINTS = 8  # points a scene's edge is drawn with
TILE_EDGE_POINTS = 2  # corners and midpoints
WIDE_EDGE_POINTS = 32
WIDE_EDGE_M = 500_000.0  # from here on a straight edge is visibly curved on the Earth
INSET_PX = 1e-3
# Of the distance from the map's origin, some metres: intersections are no finer than that.
SMALLEST = 5e-7
THINNEST = 1e-3  # a pixel's area beside the square of its longer side
AT_POLE_DEG = 1e-7
MERCATOR_LIMIT_DEG = 85.0511287798066
MERCATOR_RADIUS_M = 6_378_137.0
FOLDED = "its grid folds over itself or has no area on the Earth: check its CRS and transform"


def grid_footprint(grid: Grid) -> MultiPolygon:
    """Footprint of the whole grid in lon/lat (EPSG:4326), split at 180 degrees.

    Raises SceneRefused when the grid does not lie on the Earth.
    """
    _check_pixels(grid)
    whole = Window(0, 0, grid.height_px, grid.width_px)
    _check_way_back(grid, *_rings([whole], EDGE_POINTS))
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
    if too_small or not abs(a * e - b * d) > THINNEST * longer**2:
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
    lon_deg, lat_deg = _to_lonlat(grid, columns, rows)
    _, _, sizes_m = Geod(ellps="WGS84").inv(
        lon_deg[[0, 2]], lat_deg[[0, 2]], lon_deg[[1, 3]], lat_deg[[1, 3]]
    )
    return float(sizes_m[0]), float(sizes_m[1])


def _footprints(grid: Grid, windows: Sequence[Window], edge_points: int) -> list[MultiPolygon]:
    longest_px = max(max(window.width_px, window.height_px) for window in windows)
    if longest_px * gsd_m(grid) > WIDE_EDGE_M:
        edge_points = WIDE_EDGE_POINTS
    columns, rows = _rings(windows, edge_points)
    lon_deg, lat_deg = _to_lonlat(grid, columns, rows)
    if not _crs(grid).is_geographic:
        _avoid_poles(grid, columns, rows, lon_deg, lat_deg)
    return _polygons(dateline.continuous(lon_deg), lat_deg)


def _rings(windows: Sequence[Window], edge_points: int) -> tuple[Coordinates, Coordinates]:
    """Closed rings in pixels, (windows, 4 * edge_points + 1) columns and rows.

    They run down the left edge first, so that rings of a north-up grid are counterclockwise.
    """
    step = np.arange(edge_points) / edge_points
    zero, one = np.zeros(edge_points), np.ones(edge_points)
    across = np.concatenate([zero, step, one, 1 - step, [0.0]])
    down = np.concatenate([step, one, 1 - step, zero, [0.0]])
    place = np.array([(w.col_off_px, w.row_off_px, w.width_px, w.height_px) for w in windows])
    columns = place[:, 0:1] + place[:, 2:3] * across
    rows = place[:, 1:2] + place[:, 3:4] * down
    return columns, rows


def _to_lonlat(
    grid: Grid, columns: Coordinates, rows: Coordinates
) -> tuple[Coordinates, Coordinates]:
    x, y = _to_map(grid, columns, rows)
    try:
        transformer = Transformer.from_crs(_crs(grid), "EPSG:4326", always_xy=True)
        lon_deg, lat_deg = transformer.transform(x, y)
    except ProjError as error:
        raise SceneRefused("its CRS cannot be related to longitude and latitude") from error
    # The comparison is false for NaN too.
    if not (np.isfinite(lon_deg).all() and (np.abs(lat_deg) <= 90 + 1e-9).all()):
        raise SceneRefused(
            "part of its grid does not lie on the Earth: check its CRS and transform"
        )
    return np.asarray(lon_deg), np.clip(lat_deg, -90.0, 90.0)


def _check_way_back(grid: Grid, columns: Coordinates, rows: Coordinates) -> None:
    """Refuse a grid that reaches over the edge of its projection.

    Out there a projection answers with some place on the other side of the Earth, so the way back
    does not lead to where it began. Whole turns round the Earth, the same for every point that
    makes one, are fine: so are scenes across 180 degrees written.
    """
    x, y = _to_map(grid, columns, rows)
    crs = _crs(grid)
    back = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    off = np.stack(back.transform(*_to_lonlat(grid, columns, rows)), axis=-1)
    off -= np.stack([x, y], axis=-1)
    tolerance = max(0.01 * float(np.ptp(x)), 0.01 if crs.is_geographic else 1000.0)
    far = off[~(np.abs(off) <= tolerance).all(axis=-1)]
    if far.size and not (np.ptp(far, axis=0) <= tolerance).all():
        raise SceneRefused("part of its grid lies beyond the edge of its map projection")


def _crs(grid: Grid) -> CRS:
    try:
        return CRS.from_user_input(grid.crs)
    except CRSError as error:
        raise SceneRefused("its CRS cannot be understood") from error


def _to_map(grid: Grid, columns: Coordinates, rows: Coordinates) -> tuple[Coordinates, Coordinates]:
    a, b, c, d, e, f = grid.transform
    if not all(map(math.isfinite, grid.transform)):
        raise SceneRefused("its geotransform holds what is no number")
    return a * columns + b * rows + c, d * columns + e * rows + f


def _avoid_poles(
    grid: Grid,
    columns: Coordinates,
    rows: Coordinates,
    lon_deg: Coordinates,
    lat_deg: Coordinates,
) -> None:
    """Draw rings that run through a pole a hair further in, in place.

    At the pole itself a longitude says nothing, and it is unclear which way round an edge goes.
    """
    half_turns = np.abs(np.abs(np.diff(lon_deg, axis=1)) - 180) < 1e-6
    moved = (np.abs(lat_deg) > 90 - AT_POLE_DEG) | half_turns.any(axis=1, keepdims=True)
    if not moved.any():
        return
    for values in (columns, rows):
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        values[moved] = np.clip(values, low + INSET_PX, high - INSET_PX)[moved]
    lon_deg[moved], lat_deg[moved] = _to_lonlat(grid, columns[moved], rows[moved])


def _polygons(lon_deg: Coordinates, lat_deg: Coordinates) -> list[MultiPolygon]:
    """One footprint per ring of continuous longitudes."""
    west, east = lon_deg.min(axis=1), lon_deg.max(axis=1)
    plain = (west >= -180) & (east <= 180) & (np.abs(lon_deg[:, -1] - lon_deg[:, 0]) < 180)
    footprints = np.empty(len(lon_deg), dtype=object)
    rings = shapely.linearrings(np.stack([lon_deg[plain], lat_deg[plain]], axis=-1))
    footprints[plain] = shapely.multipolygons(shapely.polygons(rings)[:, None])
    for index in (~plain).nonzero()[0]:
        try:
            parts = dateline.split_ring(lon_deg[index], lat_deg[index])
        except shapely.errors.GEOSException as error:  # of outlines that cross themselves
            raise SceneRefused(FOLDED) from error
        footprints[index] = MultiPolygon(parts)
    return list(shapely.orient_polygons(footprints))


def _mercator(lonlat: Coordinates) -> Coordinates:
    lon, lat = np.radians(lonlat).T
    return MERCATOR_RADIUS_M * np.column_stack([lon, np.arcsinh(np.tan(lat))])
