"""Outlines of windows in lon/lat: as many points as the bend of their edges needs.

An edge that is straight in pixels is drawn by its ends and by points between, put in where the
drawing would be off by more than a quarter of a pixel - whether the points are joined by straight
lines in lon/lat, as GeoJSON and maps join them, or by geodesics, as PostGIS's geography does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.projecting import is_geographic, to_lonlat

Coordinates = NDArray[np.float64]
Numbers = NDArray[np.intp]

OFF_PX = 0.25
SMALLEST_OFF_M = 0.01  # below that, rounding speaks
DEEPEST = 12  # times that an edge is halved for its bend,
DEEPEST_AT_POLE = 48  # and while the longitude still leaps
LEAP_DEG = 60.0
MOST_POINTS = 400  # on average of an outline: an end to what has no smooth edges
INSET_PX = 1e-3
AT_POLE_DEG = 1e-7
METRES_PER_DEG = 111_320.0
RADIUS_M = 6_371_000.0


class Outlines(NamedTuple):
    """Closed rings one after the other; `starts` is where each begins. Longitudes go on."""

    lon_deg: Coordinates
    lat_deg: Coordinates
    starts: Numbers


class _Points(NamedTuple):
    """Points of rings: whose they are, how far along (0 to 1), in pixels and in lon/lat."""

    ring: Numbers
    along: Coordinates
    column: Coordinates
    row: Coordinates
    lon_deg: Coordinates
    lat_deg: Coordinates

    def take(self, which: NDArray[np.bool_] | Numbers) -> "_Points":
        return _Points(
            self.ring[which],
            self.along[which],
            self.column[which],
            self.row[which],
            self.lon_deg[which],
            self.lat_deg[which],
        )


def outlines(grid: Grid, windows: Sequence[Window], edge_points: int, pixel_m: float) -> Outlines:
    """The outlines of windows, each at least `edge_points` points an edge.

    `pixel_m` is the ground size of a pixel. Where an outline runs through a pole it is drawn a hair
    further in: at the pole itself a longitude says nothing, and it is unclear which way round an
    edge goes. Raises SceneRefused when a window is not on the Earth.
    """
    columns, rows = rings(windows, edge_points)
    tolerance_m = max(OFF_PX * pixel_m, SMALLEST_OFF_M)
    flat = is_geographic(grid)  # there a pole is an edge like any other
    if not flat:
        _move(columns, rows, np.abs(to_lonlat(grid, columns, rows)[1]) > 90 - AT_POLE_DEG)
    points = _refined(grid, columns, rows, np.arange(len(windows)), tolerance_m)
    through = np.empty(0, np.intp) if flat else _leaping(points)
    if through.size:
        columns, rows = columns[through], rows[through]
        _move(columns, rows, np.ones(columns.shape, np.bool_))
        again = _refined(grid, columns, rows, through, tolerance_m)
        points = _merged(points.take(~np.isin(points.ring, through)), again)
    starts = np.flatnonzero(np.diff(points.ring, prepend=-1))
    return Outlines(_continuous(points.lon_deg, starts), points.lat_deg, starts)


def rings(windows: Sequence[Window], edge_points: int) -> tuple[Coordinates, Coordinates]:
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


def _refined(
    grid: Grid, columns: Coordinates, rows: Coordinates, numbers: Numbers, tolerance_m: float
) -> _Points:
    """The rings with points between where they are needed, sorted by ring and along it."""
    count, size = columns.shape
    drawn = _Points(
        np.repeat(numbers, size),
        np.tile(np.arange(size) / (size - 1), count),
        columns.ravel(),
        rows.ravel(),
        *(values.ravel() for values in to_lonlat(grid, columns, rows)),
    )
    ends = np.arange(count * size).reshape(count, size)
    left, right = drawn.take(ends[:, :-1].ravel()), drawn.take(ends[:, 1:].ravel())
    total = drawn.ring.size
    found = [drawn]
    for depth in range(DEEPEST_AT_POLE):
        middle = _middle(grid, left, right)
        bent = _leaps(left, right)
        if depth < DEEPEST:
            bent |= _off_m(left, middle, right) > tolerance_m
        middle = middle.take(bent)
        total += middle.ring.size
        if not middle.ring.size or total > MOST_POINTS * (count + 10):
            break
        found.append(middle)
        left, right = (
            _merged(left.take(bent), middle, sort=False),
            _merged(middle, right.take(bent), sort=False),
        )
    return _merged(*found)


def _middle(grid: Grid, left: _Points, right: _Points) -> _Points:
    columns, rows = (left.column + right.column) / 2, (left.row + right.row) / 2
    lon_deg, lat_deg = to_lonlat(grid, columns, rows)
    return _Points(left.ring, (left.along + right.along) / 2, columns, rows, lon_deg, lat_deg)


def _off_m(left: _Points, middle: _Points, right: _Points) -> Coordinates:
    """How far the middle of an edge lies from that of a straight line, and of a geodesic."""
    chord_deg = left.lon_deg + _short_way(right.lon_deg - left.lon_deg) / 2
    east_deg = _short_way(middle.lon_deg - chord_deg) * np.cos(np.radians(middle.lat_deg))
    north_deg = middle.lat_deg - (left.lat_deg + right.lat_deg) / 2
    flat_m = np.hypot(east_deg, north_deg) * METRES_PER_DEG
    great_circle = _directions(left) + _directions(right)
    great_circle /= np.maximum(np.linalg.norm(great_circle, axis=0), 1e-12)
    round_m = np.linalg.norm(great_circle - _directions(middle), axis=0) * RADIUS_M
    return np.asarray(np.maximum(flat_m, round_m))


def _directions(points: _Points) -> Coordinates:
    """Unit vectors, (3, points)."""
    lon, lat = np.radians(points.lon_deg), np.radians(points.lat_deg)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _leaps(left: _Points, right: _Points) -> NDArray[np.bool_]:
    """Edges so long in longitude that it may be unclear which way round they go."""
    return np.asarray(np.abs(_short_way(right.lon_deg - left.lon_deg)) > LEAP_DEG)


def _short_way(degrees: Coordinates) -> Coordinates:
    turns = np.round(degrees / dateline.TURN_DEG)
    return np.asarray(degrees - dateline.TURN_DEG * turns)


def _leaping(points: _Points) -> Numbers:
    """Numbers of the rings that run through a pole: halving did not end their leaps."""
    same = points.ring[1:] == points.ring[:-1]
    leaps = same & (np.abs(_short_way(np.diff(points.lon_deg))) > LEAP_DEG)
    return np.asarray(np.unique(points.ring[1:][leaps]))


def _move(columns: Coordinates, rows: Coordinates, which: NDArray[np.bool_]) -> None:
    """Draw some points of rings a hair further in, in place."""
    if not which.any():
        return
    for values in (columns, rows):
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        values[which] = np.clip(values, low + INSET_PX, high - INSET_PX)[which]


def _merged(*parts: _Points, sort: bool = True) -> _Points:
    whole = _Points(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    return whole.take(np.lexsort((whole.along, whole.ring))) if sort else whole


def _continuous(lon_deg: Coordinates, starts: Numbers) -> Coordinates:
    """Longitudes without jumps within each ring."""
    turns = np.round(np.diff(lon_deg, prepend=lon_deg[:1]) / dateline.TURN_DEG)
    turns[starts] = 0
    turns = np.cumsum(turns)
    sizes = np.diff(starts, append=lon_deg.size)
    return np.asarray(lon_deg - dateline.TURN_DEG * (turns - np.repeat(turns[starts], sizes)))
