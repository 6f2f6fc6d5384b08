"""Registered scenes."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.errors import Conflict, InvalidInput, NotFound
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.scene import Band, Grid, Scene
from constellation_pipelines.store.database import Connection

MAX_PAGE = 1000
ADDED_CHANNEL = "constellation_scenes"

COLUMNS = (
    "id, key, uri, digest, grid, bands, nodata, gsd_m, st_asgeojson(footprint, 15)::jsonb as "
    "footprint, area_km2, start_at, end_at, item, created_at, quality"
)

ADD = f"""
insert into constellation.scenes
  (id, key, uri, digest, grid, bands, nodata, gsd_m, footprint, area_km2, start_at, end_at, item,
   quality)
values (%(id)s, %(key)s, %(uri)s, %(digest)s, %(grid)s, %(bands)s, %(nodata)s, %(gsd_m)s,
        st_geomfromgeojson(%(footprint)s)::geography, %(area_km2)s, %(start_at)s, %(end_at)s,
        %(item)s, %(quality)s)
on conflict do nothing
returning {COLUMNS}
"""

BY_ID = f"select {COLUMNS} from constellation.scenes where id = %s"
BY_KEY = f"select {COLUMNS} from constellation.scenes where key = %s"
MANY = f"select {COLUMNS} from constellation.scenes where key = any(%(keys)s) or id = any(%(ids)s)"
# The same content under whatever key comes first. The lock keeps new runs from referring to it.
KNOWN = """
select id, key, uri, digest from constellation.scenes
 where digest = %(digest)s or key = %(key)s
 order by digest = %(digest)s desc limit 1 for update
"""
USED = "select constellation.scene_is_used(%s) as used"  # by a run of any account
# Dagster hears again of a scene whose description has changed.
UPDATE = f"""
update constellation.scenes
   set uri = %(uri)s, digest = %(digest)s, grid = %(grid)s, bands = %(bands)s, nodata = %(nodata)s,
       gsd_m = %(gsd_m)s, footprint = st_geomfromgeojson(%(footprint)s)::geography,
       area_km2 = %(area_km2)s, start_at = %(start_at)s, end_at = %(end_at)s, item = %(item)s,
       quality = %(quality)s,
       partitioned_at = case when digest = %(digest)s then partitioned_at end
 where key = %(key)s
returning {COLUMNS}
"""
TELL = "select pg_notify(%s, %s)"
PAGE = f"""
select {COLUMNS} from constellation.scenes
 where %(after)s::text is null or key > %(after)s
 order by key
 limit %(limit)s
"""


def add(connection: Connection, scene: Scene) -> Scene:
    """Register a scene, or describe a registered one anew; its id and key stay.

    What is registered already with the same description, under whatever key, is returned. Another
    description of the same path takes the place of the old one as long as no run refers to it.
    Raises Conflict when one does, or when the key belongs to another file.
    """
    values = _values(scene)
    row = connection.execute(ADD, values).fetchone()
    if row is None:
        known = connection.execute(KNOWN, values).fetchone()
        assert known is not None  # it stood in the way of the insert, and scenes are never deleted
        if known["key"] != scene.key:
            return get(connection, known["id"])
        if known["digest"] != scene.digest:
            _refuse_update(connection, scene, known)
        row = connection.execute(UPDATE, values).fetchone()
        assert row is not None
    connection.execute(TELL, (ADDED_CHANNEL, scene.key))
    return row_to_scene(row)


def _refuse_update(connection: Connection, scene: Scene, known: DictRow) -> None:
    """Raise Conflict unless the registered scene may be described as this one is."""
    if known["uri"] != scene.uri:
        raise Conflict(
            f"the key {scene.key} belongs to another scene; choose one with --key", field="key"
        )
    used = connection.execute(USED, (known["id"],)).fetchone()
    if used is not None and used["used"]:
        raise Conflict(
            f"scene {scene.key} has runs that read it as it was described before; register it "
            "under a new key with --key, and both stay",
            field="key",
        )


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


def find_some(connection: Connection, references: Sequence[str]) -> list[Scene | None]:
    """The scene of each id or key, in their order, by one statement; None where there is none."""
    ids = [_uuid_in(reference) for reference in references]
    args = {
        "ids": [id for id in ids if id is not None],
        "keys": [
            r for r, id in zip(references, ids, strict=True) if id is None and r.isprintable()
        ],
    }
    found = [row_to_scene(row) for row in connection.execute(MANY, args)]
    by_id = {scene.id: scene for scene in found}
    by_key = {scene.key: scene for scene in found}
    return [
        by_key.get(reference) if id is None else by_id.get(id)
        for reference, id in zip(references, ids, strict=True)
    ]


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
    grid, mask = row["grid"], row["quality"]
    return Scene(
        **{
            **row,
            "grid": Grid(**{**grid, "transform": tuple(grid["transform"])}),
            "bands": tuple(Band(**band) for band in row["bands"]),
            "quality": mask and QualityMask(**{**mask, "kind": QualityKind(mask["kind"])}),
        }
    )


def _values(scene: Scene) -> dict[str, Any]:
    values = {name: getattr(scene, name) for name in Scene.__slots__}
    return values | {
        "grid": Jsonb(asdict(scene.grid)),
        "bands": Jsonb([asdict(band) for band in scene.bands]),
        "footprint": Jsonb(scene.footprint),
        "item": Jsonb(scene.item),
        "quality": scene.quality and Jsonb(asdict(scene.quality)),
    }


def _uuid_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
