"""PostGIS sees footprints as the projections do."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from psycopg.errors import CheckViolation, InvalidTextRepresentation
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.scene import Band, Grid
from constellation_pipelines.geo.footprint import area_km2, grid_footprint, window_footprints
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.imagery.describe import json_of
from constellation_pipelines.store import scenes
from constellation_pipelines.store.database import Connection, Database
from tests.geo.test_everywhere import HARD, lonlat
from tests.store.test_scenes import scene

SEEN = """
with place as (select st_geomfromgeojson(%(footprint)s)::geography as shape)
select st_isvalid(shape::geometry) as valid, st_area(shape) / 1e6 as area_km2,
       (select count(*) from unnest(%(lon)s::float8[], %(lat)s::float8[]) as point (lon, lat)
         where st_intersects(shape, st_point(lon, lat)::geography)) as hits
  from place
"""


def seen(
    connection: Connection,
    footprint: shapely.MultiPolygon,
    lon: list[float],
    lat: list[float],
) -> tuple[bool, float, int]:
    """Valid or not, area, and how many of the points lie in it."""
    values = {"footprint": Jsonb(json_of(footprint)), "lon": lon, "lat": lat}
    row = connection.execute(SEEN, values).fetchone()
    assert row is not None
    return row["valid"], row["area_km2"], row["hits"]


def test_the_footprint_of_a_scene_holds_its_pixels_and_no_others(database: Database) -> None:
    with database.transaction() as connection:
        for name, grid in HARD.items():
            check_scene(connection, name, grid)


def check_scene(connection: Connection, name: str, grid: Grid) -> None:
    random = np.random.default_rng(0)
    columns, rows = random.uniform(1, [grid.width_px - 1, grid.height_px - 1], (100, 2)).T
    lon, lat = lonlat(grid, columns, rows)
    other_lon, other_lat = random.uniform(-180, 180, 200), random.uniform(-90, 90, 200)
    footprint = grid_footprint(grid)
    within = int(shapely.intersects(footprint, shapely.points(other_lon, other_lat)).sum())
    valid, area, hits = seen(connection, footprint, lon.tolist(), lat.tolist())
    *_, others = seen(connection, footprint, other_lon.tolist(), other_lat.tolist())
    assert (name, valid, hits) == (name, True, 100)
    assert area == pytest.approx(area_km2(footprint), rel=2e-5)
    assert abs(others - within) <= 1  # one may lie where a straight line and a geodesic differ
    for tile in window_footprints(grid, tile_windows(grid, 64)):
        valid, area, _ = seen(connection, tile, [], [])
        assert (name, valid) == (name, True)
        assert area == pytest.approx(area_km2(tile), rel=2e-5)


def broken_footprint() -> dict[str, Any]:
    footprint = json_of(grid_footprint(scene().grid))
    footprint["coordinates"][0][0][1][0] = math.nan
    return footprint


@pytest.mark.parametrize(
    "change",
    [
        {"gsd_m": math.nan},
        {"gsd_m": math.inf},
        {"gsd_m": 0.0},
        {"area_km2": math.nan},
        {"area_km2": math.inf},
        {"area_km2": 0.0},
        {"footprint": broken_footprint()},
        {"grid": Grid("EPSG:32633", (10, 0, math.nan, 0, -10, 0), 5, 5, 5, 5)},
        {"item": {"type": "Feature", "gsd": math.nan}},
        {"bands": (Band(1, "a", None, "uint8", scale=math.nan),)},
    ],
)
def test_what_is_no_number_never_gets_in(database: Database, change: dict[str, Any]) -> None:
    with (
        pytest.raises((CheckViolation, InvalidTextRepresentation)),
        database.transaction() as connection,
    ):
        scenes.add(connection, replace(scene(), **change))
