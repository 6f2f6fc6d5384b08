"""Registered scenes."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.errors import Conflict, InvalidInput, NotFound
from constellation_pipelines.domain.scene import Band, Grid, Scene
from constellation_pipelines.store.database import Connection

MAX_PAGE = 1000

COLUMNS = (
    "id, key, uri, digest, grid, bands, nodata, gsd_m, st_asgeojson(footprint, 15)::jsonb as "
    "footprint, area_km2, start_at, end_at, item, created_at"
)

ADD = f"""
insert into constellation.scenes
  (id, key, uri, digest, grid, bands, nodata, gsd_m, footprint, area_km2, start_at, end_at, item)
values (%(id)s, %(key)s, %(uri)s, %(digest)s, %(grid)s, %(bands)s, %(nodata)s, %(gsd_m)s,
        st_geomfromgeojson(%(footprint)s)::geography, %(area_km2)s, %(start_at)s, %(end_at)s,
        %(item)s)
on conflict do nothing
returning {COLUMNS}
"""

BY_ID = f"select {COLUMNS} from constellation.scenes where id = %s"
BY_KEY = f"select {COLUMNS} from constellation.scenes where key = %s"
BY_DIGEST = f"select {COLUMNS} from constellation.scenes where digest = %s"
PAGE = f"""
select {COLUMNS} from constellation.scenes
 where %(after)s::text is null or key > %(after)s
 order by key
 limit %(limit)s
"""


def add(connection: Connection, scene: Scene) -> Scene:
    """Register a scene; a file that is registered already, under whatever key, stays as it is.

    Raises Conflict when the key belongs to another file.
    """
    row = connection.execute(ADD, _values(scene)).fetchone()
    row = row or connection.execute(BY_DIGEST, (scene.digest,)).fetchone()
    if row is None:
        raise Conflict(
            f"the key {scene.key} belongs to another scene; choose one with --key", field="key"
        )
    return row_to_scene(row)


def get(connection: Connection, id: UUID) -> Scene:
    """The scene with this id. Raises NotFound."""
    row = connection.execute(BY_ID, (id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no scene with the id {id}", field="scene")
    return row_to_scene(row)


def find(connection: Connection, reference: str) -> Scene:
    """The scene of an id or key. Raises NotFound."""
    if (id := _uuid_in(reference)) is not None:
        return get(connection, id)
    # PostgreSQL takes neither NUL nor half a surrogate pair; no key holds them.
    row = connection.execute(BY_KEY, (reference,)).fetchone() if reference.isprintable() else None
    if row is None:
        raise NotFound(
            f"there is no scene {reference[:100]!r}; `constellation scenes list` shows them",
            field="scene",
        )
    return row_to_scene(row)


def list_page(connection: Connection, limit: int, after: str | None = None) -> list[Scene]:
    """Up to `limit` scenes by key, those after the key `after`. Raises InvalidInput."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit must be from 1 to {MAX_PAGE}", field="limit")
    if after is not None and not after.isprintable():
        raise InvalidInput("this cursor is none of ours", field="after")
    rows = connection.execute(PAGE, {"after": after, "limit": limit})
    return [row_to_scene(row) for row in rows]


def row_to_scene(row: DictRow) -> Scene:
    """A row of COLUMNS as a scene."""
    grid = row["grid"]
    return Scene(
        **{
            **row,
            "grid": Grid(**{**grid, "transform": tuple(grid["transform"])}),
            "bands": tuple(Band(**band) for band in row["bands"]),
        }
    )


def _values(scene: Scene) -> dict[str, Any]:
    values = {name: getattr(scene, name) for name in Scene.__slots__}
    return values | {
        "grid": Jsonb(asdict(scene.grid)),
        "bands": Jsonb([asdict(band) for band in scene.bands]),
        "footprint": Jsonb(scene.footprint),
        "item": Jsonb(scene.item),
    }


def _uuid_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
