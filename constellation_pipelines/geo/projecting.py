"""From the pixels of a grid to its map and to lon/lat."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Grid

Coordinates = NDArray[np.float64]

WGS84 = "EPSG:4326"
REMEMBERED = 32  # CRSs; pyproj's objects may be used by several threads


def to_lonlat(
    grid: Grid, columns: Coordinates, rows: Coordinates
) -> tuple[Coordinates, Coordinates]:
    """Longitudes and latitudes (WGS 84, degrees) of places counted in pixels of the grid.

    Raises SceneRefused when one of them is not on the Earth.
    """
    x, y = to_map(grid, columns, rows)
    crs_of(grid)  # refuses
    try:
        lon_deg, lat_deg = _transformer(grid.crs, WGS84).transform(x, y)
    except ProjError as error:
        raise SceneRefused("its CRS cannot be related to longitude and latitude") from error
    # The comparison is false for NaN too.
    if not (np.isfinite(lon_deg).all() and (np.abs(lat_deg) <= 90 + 1e-9).all()):
        raise SceneRefused(
            "part of its grid does not lie on the Earth: check its CRS and transform"
        )
    return np.asarray(lon_deg), np.clip(lat_deg, -90.0, 90.0)


def from_lonlat(
    grid: Grid, lon_deg: Coordinates, lat_deg: Coordinates
) -> tuple[Coordinates, Coordinates]:
    """Map coordinates of places on the Earth; infinite where the map has none."""
    x, y = _transformer(WGS84, grid.crs).transform(lon_deg, lat_deg)
    return np.asarray(x), np.asarray(y)


def to_map(grid: Grid, columns: Coordinates, rows: Coordinates) -> tuple[Coordinates, Coordinates]:
    """Map coordinates of places counted in pixels. Raises SceneRefused for a broken transform."""
    a, b, c, d, e, f = grid.transform
    if not all(map(math.isfinite, grid.transform)):
        raise SceneRefused("its geotransform holds what is no number")
    return a * columns + b * rows + c, d * columns + e * rows + f


def is_geographic(grid: Grid) -> bool:
    """Whether the grid is one of degrees."""
    return bool(crs_of(grid).is_geographic)


def crs_of(grid: Grid) -> CRS:
    """The grid's CRS. Raises SceneRefused."""
    try:
        return _crs(grid.crs)
    except CRSError as error:
        raise SceneRefused("its CRS cannot be understood") from error


@lru_cache(maxsize=REMEMBERED)
def _crs(text: str) -> CRS:
    return CRS.from_user_input(text)


@lru_cache(maxsize=REMEMBERED)
def _transformer(source: str, target: str) -> Transformer:
    """Made once: to find the way between two datums can take a hundred milliseconds."""
    return Transformer.from_crs(_crs(source), _crs(target), always_xy=True)
