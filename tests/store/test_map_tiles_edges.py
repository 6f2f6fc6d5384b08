"""Where a tile is on the coverage map: where it lies and nowhere else, at every edge there is.

Edges of map tiles, 180 degrees, the poles, and 85.05 degrees, where the map of the web ends.
Zoom 0 is one map tile; from zoom 14 on tiles are never counted in squares.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely
from shapely import MultiPolygon, Polygon

from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.footprint import to_mercator
from constellation_pipelines.geo.place import Places
from constellation_pipelines.store import map_tiles
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.map_tiles import MOST_TILES, MapTile
from constellation_pipelines.store.tenancy import EVERYONE
from tests.conftest import PostgresServer, scratch_database
from tests.store.test_queue import finish
from tests.store.test_tiles import LEFT, commit, new_model, row, work

RADIUS_M = 6_378_137.0
HALF_M = math.pi * RADIUS_M
LAST_COUNTED = 6  # of these zooms the last one at which tiles are counted in squares
ZOOMS = (0, 6, 14)


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer, template: str) -> Iterator[Database]:
    """A database that these tests share: each has a model of its own."""
    with scratch_database(postgres, template) as name:
        database = Database(postgres.url_of(name))
        yield database
        database.close()


# ---- places ----


def size_m(z: int) -> float:
    """How wide a map tile is."""
    return 2 * HALF_M / 2.0**z


def extent(place: MapTile, grown_px: float = 0.0) -> Polygon:
    """What a map tile shows, without what it has around its edges; in 1/4096 of it, more."""
    size, more = size_m(place.z), grown_px * size_m(place.z) / 4096
    west, north = place.x * size - HALF_M, HALF_M - place.y * size
    return shapely.box(west - more, north - size - more, west + size + more, north + more)


def on_earth(west_m: float, south_m: float, east_m: float, north_m: float) -> MultiPolygon:
    """The footprint in lon/lat of a box on the map, which may go on beyond 180 degrees and beyond
    the map's end.
    """

    def degrees(xy: Any) -> Any:
        lat = np.degrees(2 * np.arctan(np.exp(xy[:, 1] / RADIUS_M)) - math.pi / 2)
        return np.column_stack([xy[:, 0] / HALF_M * 180, lat])

    box = shapely.transform(shapely.box(west_m, south_m, east_m, north_m), degrees)
    parts = dateline.split_at_180(box)
    return MultiPolygon([*shapely.segmentize(parts, 5)])  # PostGIS takes the shortest way


def cap(crs: str, half_m: float) -> MultiPolygon:
    """The footprint of one tile with a pole in its middle."""
    pixel_m = half_m / 256
    grid = Grid(crs, (pixel_m, 0, -half_m, 0, -pixel_m, half_m), 512, 512, 512, 512)
    (place,) = Places(grid).of([Window(0, 0, 512, 512)])
    return place.footprint


@cache
def footprints(z: int) -> dict[str, MultiPolygon]:
    """Footprints at the edges of a zoom's map tiles, as large as these need to be."""
    size = size_m(z)
    west = math.floor(0.55 * 2**z) * size - HALF_M  # corner of a map tile
    north = HALF_M - math.floor(0.35 * 2**z) * size
    corner = (west, north) if z else (0.0, 0.0)  # at zoom 0 there is none between others
    south, top = north - 0.6 * size, north - 0.3 * size
    column = west + 0.3 * size, west + 0.5 * size
    return {
        "within a map tile": on_earth(column[0], south, column[1], top),
        "up to two edges of a map tile": on_earth(west, north - size / 2, west + size / 2, north),
        "all of a map tile": on_earth(west, north - size, west + size, north),
        "its middle on the corner of four": on_earth(
            *(at - size / 4 for at in corner), *(at + size / 4 for at in corner)
        ),
        "up to 180 degrees": on_earth(HALF_M - 0.3 * size, south, HALF_M, top),
        "from 180 degrees on": on_earth(-HALF_M, south, 0.3 * size - HALF_M, top),
        "across 180 degrees": on_earth(HALF_M - 0.2 * size, south, HALF_M + 0.3 * size, top),
        "its middle on 180 degrees": on_earth(
            HALF_M - 0.25 * size, south, HALF_M + 0.25 * size, top
        ),
        "across the map's northern end": on_earth(
            column[0], HALF_M - 0.2 * size, column[1], HALF_M + 0.4 * size
        ),
        "across the map's southern end": on_earth(
            column[0], -HALF_M - 0.4 * size, column[1], 0.2 * size - HALF_M
        ),
        "north of the map": on_earth(column[0], HALF_M + 1e4, column[1], HALF_M + 4e5),
        "south of the map": on_earth(column[0], -HALF_M - 4e5, column[1], -HALF_M - 1e4),
        "round the north pole": cap("EPSG:3413", 700_000),
        "round the south pole": cap("EPSG:3031", 700_000),
        "at the north pole": cap("EPSG:3413", 50_000),
        "at the south pole": cap("EPSG:3031", 50_000),
    }


OFF_THE_MAP = {"north of the map", "south of the map", "at the north pole", "at the south pole"}
CASES = [(z, name) for z in ZOOMS for name in footprints(z)]


def candidates(z: int, mercator: MultiPolygon) -> list[MapTile]:
    """Map tiles that it might be on: where it lies and around, and elsewhere at its latitude, all
    of them up to zoom 6.
    """
    last = 2**z - 1
    numbers = range(last + 1)
    columns, lines = {0, last // 2, last // 3, last}, {0, last // 2, last}
    for part in mercator.geoms:
        west, south, east, north = part.bounds
        columns |= few((west + HALF_M) / size_m(z), (east + HALF_M) / size_m(z))
        lines |= few((HALF_M - north) / size_m(z), (HALF_M - south) / size_m(z))
    if z <= LAST_COUNTED:
        columns |= {*numbers}
    return [
        MapTile(z, x, y)
        for x, y in product(sorted(columns), sorted(lines))
        if x in numbers and y in numbers
    ]


def few(first: float, end: float) -> set[int]:
    """The numbers from one before to one behind, without most of them where that is many."""
    numbers = range(math.floor(first) - 1, math.floor(end) + 2)
    return {*numbers} if len(numbers) <= 12 else {*numbers[:4], *numbers[-4:]}


# ---- what is on the map ----


def keep(database: Database, model: UUID, *places: MultiPolygon) -> None:
    """Tiles of a model with these footprints, as a run writes them."""
    lease = work(database, model_id=model).lease
    rows = [
        replace(
            row(replace(LEFT, col_off_px=512 * number)),
            digest=f"{model}{new_id()}",
            footprint=place,
            mercator=to_mercator(place),
        )
        for number, place in enumerate(places)
    ]
    try:
        commit(database, lease, *rows)
    finally:
        finish(database, lease)  # so that the next one has its device


def features(database: Database, folder: Path, model: UUID, place: MapTile) -> list[dict[str, Any]]:
    """What a map tile has, as GDAL reads it, shapes in EPSG:3857."""
    with database.bound(EVERYONE).transaction() as connection:
        mvt = map_tiles.draw(connection, model, place, {})
    if not mvt:
        return []
    path = folder / f"{place.z}-{place.x}-{place.y}.mvt"
    path.write_bytes(mvt)
    how: dict[str, Any] = {"X": place.x, "Y": place.y, "Z": place.z, "CLIP": "NO"}
    meta, _, shapes, columns = pyogrio.raw.read(path, layer="tiles", **how)
    rows = zip(*columns, strict=True)
    return [
        dict(zip(meta["fields"], values, strict=True)) | {"shape": shapely.from_wkb(shape)}
        for values, shape in zip(rows, shapes, strict=True)
    ]


def is_in(shape: Any, place: MapTile) -> bool:
    """Whether any of it lies in the map tile proper: not only on its edge or around it."""
    return bool(shapely.intersection(shapely.make_valid(shape), extent(place, -2)).area > 0)


@pytest.mark.parametrize(("z", "name"), CASES)
def test_a_tile_is_drawn_where_it_lies_and_nowhere_else(
    shared: Database, tmp_path: Path, z: int, name: str
) -> None:
    place = footprints(z)[name]
    mercator, model = to_mercator(place), new_model(shared)
    keep(shared, model, place)
    assert mercator.is_empty == (name in OFF_THE_MAP)
    expected, found = set(), set()
    for one in candidates(z, mercator):
        shapes = [feature["shape"] for feature in features(shared, tmp_path, model, one)]
        assert len(shapes) <= 1, "it is drawn once"
        if any(is_in(shape, one) for shape in shapes):
            found.add(one)
        if is_in(mercator, one):
            expected.add(one)
    assert found == expected
    assert bool(expected) != (name in OFF_THE_MAP)


@pytest.mark.parametrize(("z", "name"), [case for case in CASES if case[0] <= LAST_COUNTED])
def test_a_tile_is_counted_in_one_square_where_it_lies(
    shared: Database, tmp_path: Path, z: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_tiles, "MOST_TILES", 0)  # one is too many to be drawn alone
    place = footprints(z)[name]
    mercator, model = to_mercator(place), new_model(shared)
    keep(shared, model, place)
    found = [
        (one, feature)
        for one in candidates(z, mercator)
        for feature in features(shared, tmp_path, model, one)
    ]
    if name in OFF_THE_MAP:
        assert not found
        return
    ((one, square),) = found
    assert square["tiles"] == 1
    assert extent(one, 1).contains(square["shape"])
    boxes = [shapely.box(*part.bounds) for part in mercator.geoms]
    assert any(box.intersects(square["shape"]) for box in boxes), "that of the middle of a part"


@pytest.mark.parametrize("z", [6, 14])
def test_a_crowd_across_180_degrees_leaves_the_rest_of_its_latitude_alone(
    shared: Database, tmp_path: Path, z: int
) -> None:
    model, place = new_model(shared), footprints(z)["within a map tile"]
    keep(shared, model, place)
    keep(shared, model, *[footprints(z)["across 180 degrees"]] * MOST_TILES)  # and newer
    mercator = to_mercator(place)
    (inside,) = [one for one in candidates(z, mercator) if is_in(mercator, one)]
    found = features(shared, tmp_path, model, inside)
    assert ["run_id" in feature for feature in found] == [True], "drawn, and by itself"
    assert is_in(found[0]["shape"], inside)
