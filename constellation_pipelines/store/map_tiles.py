"""The coverage map: what a model covered, as map tiles of the account that asks.

From `coverage_cells` nothing is drawn: they count the tiles of all accounts together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store.database import Connection

MAX_ZOOM = 22
MOST_TILES = 1_000  # drawn one by one
MOST_BYTES = 200_000
SQUARES = 64  # along each side of a map tile; also the extent that they are drawn in
# From here on a map tile is not much larger than a tile: squares by their middles would leave it
# empty where many lie one upon the other, so the newest are drawn.
NEWEST_FROM_ZOOM = 14

# A map asks for dozens of map tiles at once. None may take a connection for long.
HURRY = "select set_config('statement_timeout', '10s', true)"

COVERED = """
with covered as (
  select model_id, count(*)::int as tiles, sum(area_km2) as area_km2,
         max(created_at) as computed_at, st_setsrid(st_extent(geom_3857)::geometry, 3857) as box
    from constellation.tiles
   where state = 'COMPLETED' and valid_fraction > 0 and not st_isempty(geom_3857)
     and (%(model_id)s::uuid is null or model_id = %(model_id)s)
   group by model_id)
select m.id as model_id, m.name || '@' || m.version as model, tiles, area_km2, computed_at,
       array[st_xmin(degrees), st_ymin(degrees), st_xmax(degrees), st_ymax(degrees)] as bounds
  from covered join constellation.models m on m.id = covered.model_id,
       lateral st_transform(box, 4326) degrees
 order by m.name, m.version
"""

DRAW = """
with place as (select st_tileenvelope(%(z)s, %(x)s, %(y)s) as place),
found as materialized (
  select f.* from place, constellation.tiles_on_map(
    %(model_id)s, st_tileenvelope(%(z)s, %(x)s, %(y)s, margin => 64.0 / 4096), %(read)s) f),
drawn as (
  select top_class as class, %(names)s::jsonb ->> top_class::text as name,
         round(confidence::numeric, 3)::float8 as confidence, run_id::text as run_id,
         st_asmvtgeom(geom, place, 4096, 64) as geom
    from (select * from found order by created_at desc, id desc limit %(most)s) newest, place)
select (select count(*) from found) as tiles,
       (select st_asmvt(drawn, 'tiles', 4096, 'geom') from drawn where geom is not null) as mvt
"""

# Rings of a map tile, whose y grows downwards, go the other way around.
DRAW_SQUARES = """
with drawn as (
  select tiles, round(area_km2::numeric, 1)::float8 as area_km2,
         top_class as class, %(names)s::jsonb ->> top_class::text as name,
         st_forcepolygonccw(st_makeenvelope(col, line, col + 1, line + 1)) as geom
    from constellation.squares_on_map(
      %(model_id)s, st_tileenvelope(%(z)s, %(x)s, %(y)s), %(squares)s))
select st_asmvt(drawn, 'tiles', %(squares)s, 'geom') as mvt from drawn
"""


@dataclass(frozen=True, slots=True)
class Covered:
    """What a model covered. `bounds` are west, south, east, north in degrees."""

    model_id: UUID
    model: str
    tiles: int
    area_km2: float
    computed_at: datetime
    bounds: list[float]


@dataclass(frozen=True, slots=True)
class MapTile:
    """A tile of the web map: at zoom z, 2^z of them along each axis, from the north-west."""

    z: int
    x: int
    y: int


@contextmanager
def hurried(connection: Connection) -> Iterator[None]:
    """Statements of 10 s at most. Raises ServiceUnavailable for one that takes longer."""
    connection.execute(HURRY)
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise ServiceUnavailable(
            "too many tiles to be counted in time: zoom in, or try again when less is going on"
        ) from error


def covered(connection: Connection, model_id: UUID | None = None) -> list[Covered]:
    """What each model covered, or one of them, in the rows that the transaction sees."""
    with hurried(connection):
        return [Covered(**row) for row in connection.execute(COVERED, {"model_id": model_id})]


def draw(connection: Connection, model_id: UUID, place: MapTile, names: dict[int, str]) -> bytes:
    """A Mapbox vector tile with one layer, `tiles`; empty where there is nothing.

    Tiles are drawn one by one, or counted in squares where that would be too many or too much.
    `names` are those of the classes. Raises ServiceUnavailable where it takes too long.
    """
    alone = place.z >= NEWEST_FROM_ZOOM
    args: dict[str, Any] = {"model_id": model_id, "z": place.z, "x": place.x, "y": place.y}
    args |= {"names": Jsonb({str(value): name for value, name in names.items()})}
    args |= {"read": None if alone else MOST_TILES + 1, "most": MOST_TILES, "squares": SQUARES}
    with hurried(connection):
        row = connection.execute(DRAW, args).fetchone()
        assert row is not None  # a row of scalar subqueries is always there
        mvt = bytes(row["mvt"] or b"")
        if alone or (row["tiles"] <= MOST_TILES and len(mvt) <= MOST_BYTES):
            return mvt
        squares = connection.execute(DRAW_SQUARES, args).fetchone()
    return bytes(squares["mvt"] or b"") if squares is not None else b""
