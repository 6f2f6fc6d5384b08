"""The places of a scene's tiles on Earth, each worked out once."""

from collections.abc import Sequence
from dataclasses import dataclass

import shapely

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.footprint import area_km2, to_mercator, window_footprints


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window lies: in lon/lat, split at 180 degrees; in EPSG:3857; how large it is."""

    footprint: shapely.MultiPolygon
    mercator: shapely.MultiPolygon
    area_km2: float


class Places:
    """Places of windows of one grid. Asked ahead for the first tiles, it has them when they come.

    Two threads that ask at the same time may work the same place out twice, to the same end.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._ahead: dict[Window, Place] = {}

    def look_ahead(self, windows: Sequence[Window]) -> None:
        """Work places out before they are asked for."""
        self._ahead.update(zip(windows, self._work_out(windows), strict=True))

    def of(self, windows: Sequence[Window]) -> list[Place]:
        """The places of some windows, in their order."""
        missing = [window for window in windows if window not in self._ahead]
        found = dict(zip(missing, self._work_out(missing), strict=True))
        return [found.get(window) or self._ahead[window] for window in windows]

    def _work_out(self, windows: Sequence[Window]) -> list[Place]:
        footprints = window_footprints(self._grid, windows) if windows else []
        return [Place(one, to_mercator(one), area_km2(one)) for one in footprints]
