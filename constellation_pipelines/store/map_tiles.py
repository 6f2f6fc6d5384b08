"""The coverage map: what a model covered, as map tiles of the account that asks.

Cells of `constellation.coverage_cells`, counted ahead, tell how many tiles there are, so that no
more than a bounded number of them is ever read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store.database import Connection

MAX_ZOOM = 22
FORM = 1  # one more where the same tiles are drawn in another way
CELLS_ZOOM = 7  # the last one that has cells of its own
MOST_TILES = 1_000  # drawn one by one
MOST_COUNTED = 5_000  # counted anew, in finer squares than the cells are
MOST_READ = 10_000  # of which the newest are drawn
MOST_BYTES = 200_000
SQUARES = 64  # along each side of a map tile; also the extent that they are drawn in
# From here on a map tile is not much larger than a tile: squares by their middles would leave it
# empty where many lie one upon the other, so the newest are drawn.
NEWEST_FROM_ZOOM = 14

# A map asks for dozens of map tiles at once. None may take a connection for long.
HURRY = "select set_config('statement_timeout', '10s', true)"

DRAW = """
with place as (select st_tileenvelope(%(z)s, %(x)s, %(y)s) as place),
found as materialized (
  select f.* from place, constellation.tiles_on_map(
    %(model_id)s, st_tileenvelope(%(z)s, %(x)s, %(y)s, margin => 64.0 / 4096), %(read)s) f),
drawn as (
  select top_class as class, %(names)s::jsonb ->> top_class::text as name,
         round(confidence::numeric, 3)::float8 as confidence, run_id::text as run_id,
         to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as computed_at,
         st_asmvtgeom(geom, place, 4096, 64) as geom
    from (select * from found order by created_at desc, id desc limit %(most)s) newest, place)
select (select count(*) from found) as tiles,
       (select count(*) from drawn where geom is not null) as seen,
       (select st_asmvt(drawn, 'tiles', 4096, 'geom') from drawn where geom is not null) as mvt
"""

# Squares with how many tiles of each class are in them, as a map tile: of a square all tiles, and
# the most frequent class, of several the least: both in one number, for to sort would take longer.
# Rings of a map tile, whose y grows downwards, go the other way around.
SQUARES_OF = """
summed as (
  select square, sum(tiles::int) as tiles,
         round((sum(area_m2) / 1e6)::numeric, 1)::float8 as area_km2,
         32767 - (max(tiles << 16 | 32767 - top_class) & 65535) as class
    from counted where tiles > 0 group by square),
drawn as (
  select tiles, area_km2, class, %(names)s::jsonb ->> class::text as name,
         st_forcepolygonccw(st_makeenvelope(col, line, col + width, line + width)) as geom
    from summed, lateral (select %(squares)s / %(side)s as width) w,
         lateral (select (square %% %(squares)s - %(first_col)s) * width as col,
                         (square / %(squares)s - %(first_line)s) * width as line) place)
select (select coalesce(sum(tiles), 0) from drawn)::bigint as tiles,
       (select count(*) from drawn) as seen,
       (select st_asmvt(drawn, 'tiles', %(squares)s, 'geom') from drawn) as mvt
"""

DRAW_CELLS = f"""
with counted as (
  select square, top_class, sum(tiles) as tiles, sum(area_m2::float8) as area_m2
    from (select square, top_class, tiles, area_m2
            from constellation.coverage_cells
           where model_id = %(model_id)s and z = %(cells_z)s and x = %(cells_x)s and y = %(cells_y)s
           union all
          select constellation.square_above(x, y, square, %(up)s), top_class, tiles, area_m2
            from constellation.coverage_changes
           where model_id = %(model_id)s and x between %(first_x)s and %(last_x)s
             and y between %(first_y)s and %(last_y)s) known
   where square %% %(squares)s between %(first_col)s and %(first_col)s + %(side)s - 1
     and square / %(squares)s between %(first_line)s and %(first_line)s + %(side)s - 1
   group by square, top_class),
{SQUARES_OF}
"""

DRAW_SQUARES = f"""
with counted as (
  select * from constellation.squares_on_map(
    %(model_id)s, st_tileenvelope(%(z)s, %(x)s, %(y)s), %(squares)s)),
{SQUARES_OF}
"""


@dataclass(frozen=True, slots=True)
class MapTile:
    """A tile of the web map: at zoom z, 2^z of them along each axis, from the north-west."""

    z: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A Mapbox vector tile, how many tiles were found for it, and how many shapes it shows."""

    tiles: int
    seen: int
    mvt: bytes

    @property
    def fits(self) -> bool:
        """Whether it may be shown."""
        return self.tiles <= MOST_TILES and len(self.mvt) <= MOST_BYTES


@contextmanager
def hurried(connection: Connection) -> Iterator[None]:
    """Statements of 10 s at most. Raises ServiceUnavailable for one that takes longer."""
    connection.execute(HURRY)
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise ServiceUnavailable(
            "the map tile could not be drawn in time: try again when less is going on"
        ) from error


def draw(connection: Connection, model_id: UUID, place: MapTile, names: dict[int, str]) -> bytes:
    """A Mapbox vector tile with one layer, `tiles`; empty where there is nothing.

    Tiles are drawn one by one, or counted in squares where that would be too many or too much.
    `names` are those of the classes. Raises ServiceUnavailable where it takes too long.
    """
    args: dict[str, Any] = {"model_id": model_id, "z": place.z, "x": place.x, "y": place.y}
    args |= {"names": Jsonb({str(value): name for value, name in names.items()})}
    with hurried(connection):
        if place.z >= NEWEST_FROM_ZOOM:
            return newest(connection, args)
        cells = drawn_by(DRAW_CELLS, connection, args | cells_of(place))
        if cells.tiles <= MOST_TILES:
            alone = drawn_by(DRAW, connection, args | {"read": MOST_TILES + 1, "most": MOST_TILES})
            # Of tiles that are smaller than a pixel of the map tile nothing is left to be seen.
            if alone.fits and 2 * alone.seen >= alone.tiles:
                return alone.mvt
        if place.z <= CELLS_ZOOM or cells.tiles > MOST_COUNTED:
            return cells.mvt
        whole = {"squares": SQUARES, "side": SQUARES, "first_col": 0, "first_line": 0}
        return drawn_by(DRAW_SQUARES, connection, args | whole).mvt


def newest(connection: Connection, args: dict[str, Any]) -> bytes:
    """The newest tiles, as many as there is room for."""
    most = MOST_TILES
    while most:
        mvt = drawn_by(DRAW, connection, args | {"read": MOST_READ, "most": most}).mvt
        if len(mvt) <= MOST_BYTES:
            return mvt
        most = min(most // 2, most * MOST_BYTES // len(mvt))
    return b""


def cells_of(place: MapTile) -> dict[str, int]:
    """Which cells lie in a map tile: of it, or of the one at CELLS_ZOOM that it is a part of.

    `side` squares along each side, from `first_col` and `first_line` on in the grid of that one.
    """
    zooms = max(0, place.z - CELLS_ZOOM)
    z, x, y = place.z - zooms, place.x >> zooms, place.y >> zooms
    side = SQUARES >> zooms
    part = (1 << zooms) - 1
    up = CELLS_ZOOM - z  # changes are noted at CELLS_ZOOM
    return {
        "cells_z": z,
        "cells_x": x,
        "cells_y": y,
        "up": up,
        "first_x": x << up,
        "last_x": ((x + 1) << up) - 1,
        "first_y": y << up,
        "last_y": ((y + 1) << up) - 1,
        "side": side,
        "first_col": (place.x & part) * side,
        "first_line": (place.y & part) * side,
        "squares": SQUARES,
    }


def drawn_by(statement: str, connection: Connection, args: dict[str, Any]) -> Drawn:
    """What a statement draws."""
    row = connection.execute(statement, args).fetchone()
    assert row is not None  # a row of scalar subqueries is always there
    return Drawn(row["tiles"], row["seen"], bytes(row["mvt"] or b""))
