"""Polygons of pixels, with holes, as polygons on the Earth."""

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from shapely import MultiPolygon, Polygon

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.outline import AT_POLE_DEG, INSET_PX

Coordinates = NDArray[np.float64]

# A straight edge of the map is curved in lon/lat: so it is drawn in short pieces, the shorter the
# nearer to a pole, until none turns further than this.
EDGES_PX = (64.0, 8.0, 1.0, 0.25)
WIDEST_STEP_DEG = 5.0
WIDEST_GEOGRAPHIC_STEP_DEG = 45.0


class PixelPolygons:
    """Places outlines of one grid on the Earth."""

    def __init__(self, grid: Grid) -> None:
        crs = CRS.from_user_input(grid.crs)
        self._transform = np.array(grid.transform).reshape(2, 3)
        self._to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        self._geod = Geod(ellps="WGS84")
        self._geographic = crs.is_geographic
        pixel_deg = float(np.abs(self._transform[:, :2]).max())
        widest_px = min(EDGES_PX[0], WIDEST_GEOGRAPHIC_STEP_DEG / pixel_deg)
        self._edges_px = (widest_px,) if self._geographic else EDGES_PX

    def place(self, outline: Polygon) -> MultiPolygon:
        """The outline in lon/lat, valid, split at 180 degrees; empty where it is less than a line.

        Rings may go round a pole: what it is that they enclose is settled ring by ring.
        """
        rings = self._rings(outline)
        if not self._geographic and any(at_pole(ring) for ring in rings):
            # At the pole a longitude says nothing: the outline passes a hair further in.
            inset = shapely.buffer(outline, -INSET_PX, join_style="mitre")
            parts = [self._placed(self._rings(part)) for part in dateline.polygons_of(inset)]
            return tidied(shapely.union_all(parts))
        return tidied(self._placed(rings))

    def area_km2(self, placed: MultiPolygon) -> float:
        """Area on the WGS 84 ellipsoid, holes left out."""
        parts = [part for polygon in placed.geoms for part in dateline.slices(polygon)]
        oriented = shapely.orient_polygons(np.array(parts, dtype=object))
        return float(sum(abs(self._geod.geometry_area_perimeter(one)[0]) for one in oriented) / 1e6)

    def _rings(self, outline: Polygon) -> list[Coordinates]:
        """The rings in continuous longitude and latitude, outer one first."""
        rings: list[Coordinates] = []
        for edge_px in self._edges_px:
            fine = shapely.segmentize(outline, edge_px)
            rings = [
                self._project(np.array(ring.coords)) for ring in (fine.exterior, *fine.interiors)
            ]
            if all(np.abs(np.diff(ring[:, 0])).max() < WIDEST_STEP_DEG for ring in rings):
                break
        return rings

    def _project(self, pixels: Coordinates) -> Coordinates:
        x, y = self._transform[:, :2] @ pixels.T + self._transform[:, 2:]
        lon, lat = self._to_lonlat.transform(x, y)
        return np.column_stack([dateline.continuous(np.asarray(lon)), lat])

    def _placed(self, rings: list[Coordinates]) -> shapely.Geometry:
        if all(plain(ring) for ring in rings):
            return Polygon(rings[0], rings[1:])
        shell, *holes = (enclosed(ring) for ring in rings)
        return shapely.difference(shell, shapely.union_all(holes)) if holes else shell


def plain(ring: Coordinates) -> bool:
    """Whether a ring stays on the map: neither across 180 degrees nor round a pole."""
    lon = ring[:, 0]
    return bool(np.abs(lon).max() <= 180 and abs(lon[-1] - lon[0]) < 180)


def at_pole(ring: Coordinates) -> bool:
    """Whether a ring runs through a pole."""
    half_turns = np.abs(np.abs(np.diff(ring[:, 0])) - 180) < 1e-6
    return bool(half_turns.any() or (np.abs(ring[:, 1]) > 90 - AT_POLE_DEG).any())


def enclosed(ring: Coordinates) -> shapely.Geometry:
    """What a ring encloses, in -180..180."""
    parts = dateline.split_ring(ring[:, 0], ring[:, 1])
    return shapely.union_all([shapely.make_valid(part) for part in parts])


def tidied(geometry: shapely.Geometry) -> MultiPolygon:
    """Its polygons, valid, outer rings counterclockwise."""
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry)
    return shapely.orient_polygons(MultiPolygon(dateline.polygons_of(geometry)))
