"""Named areas of interest. A job takes a copy of the shape, so that none refers to a row here."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import shapely

from constellation_pipelines.domain.area import Area
from constellation_pipelines.domain.errors import Conflict, InvalidInput, NotFound, QuotaExceeded
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store.database import Connection

MOST_OF_ACCOUNT = 1_000

COLUMNS = "id, account, name, bbox, km2, created_at"

COUNT = "select count(*) as n from constellation.areas where account = %(account)s"
INSERT = f"""
insert into constellation.areas (id, account, name, geom, bbox, km2)
values (%(id)s, %(account)s, %(name)s, st_geomfromwkb(%(wkb)s, 4326), %(bbox)s, %(km2)s)
on conflict (account, name) do nothing
returning {COLUMNS}
"""
# Shapes are compared as they were kept, vertex by vertex: what is the same was written the same.
KNOWN = f"""
select {COLUMNS}, st_asbinary(geom, 'NDR') = %(wkb)s as same
  from constellation.areas where account = %(account)s and name = %(name)s
"""
# By id, which grows with time.
PAGE = f"""
select {COLUMNS} from constellation.areas
 where (%(before)s::uuid is null or id < %(before)s) and (%(name)s::text is null or name = %(name)s)
 order by id desc limit %(limit)s
"""
WHOLE = f"select {COLUMNS}, st_asbinary(geom) as wkb from constellation.areas"
BY_ID = f"{WHOLE} where id = %(id)s"
OF_ACCOUNT = f"""
{WHOLE} where account = %(account)s and (name = %(name)s or id = %(id)s)
"""
DELETE = f"delete from constellation.areas where id = %(id)s returning {COLUMNS}"


@dataclass(frozen=True, slots=True)
class NewArea:
    """An area to keep: a valid shape in lon/lat (EPSG:4326), split at 180 degrees."""

    account: str
    name: str
    shape: shapely.MultiPolygon
    bbox: tuple[float, float, float, float]
    km2: float


def add(connection: Connection, new: NewArea) -> tuple[Area, bool]:
    """Keep an area; return it and whether it is new.

    Raises Conflict when the account has another shape of this name, QuotaExceeded when it has as
    many areas as it may, and InvalidInput for a shape that PostGIS does not take for valid.
    """
    wkb = shapely.to_wkb(new.shape, byte_order=1)
    args = {"id": new_id(), "account": new.account, "name": new.name, "wkb": wkb}
    if (known := known_area(connection, args)) is not None:
        return known, False
    row = connection.execute(COUNT, args).fetchone()
    if row is not None and row["n"] >= MOST_OF_ACCOUNT:
        raise QuotaExceeded(
            f"account {new.account} has {MOST_OF_ACCOUNT} areas, which is as many as it may have: "
            "remove one"
        )
    try:
        made = connection.execute(INSERT, args | {"bbox": [*new.bbox], "km2": new.km2}).fetchone()
    except psycopg.errors.CheckViolation as error:
        raise InvalidInput(
            "geometry: it cannot be kept as a valid shape: simplify it", field="geometry"
        ) from error
    if made is not None:
        return Area(**made), True
    raced = known_area(connection, args)
    if raced is None:  # removed in between
        raise Conflict("the area of this name was removed just now: send it again", field="name")
    return raced, False


def known_area(connection: Connection, args: dict[str, Any]) -> Area | None:
    """The account's area of this name, if any. Raises Conflict when it has another shape."""
    row = connection.execute(KNOWN, args).fetchone()
    if row is None:
        return None
    if not row.pop("same"):
        raise Conflict(
            f"there is an area {args['name'][:100]!r} of another shape: take another name, or "
            "remove that one first",
            field="name",
        )
    return Area(**row)


def list_page(
    connection: Connection, *, before: UUID | None = None, name: str | None = None, limit: int
) -> list[Area]:
    """The areas that the transaction sees with an id below `before`, newest first."""
    args = {"before": before, "name": name, "limit": limit}
    return [Area(**row) for row in connection.execute(PAGE, args)]


def find(connection: Connection, area_id: UUID) -> tuple[Area, dict[str, Any]]:
    """The area of this id, with its shape as GeoJSON. Raises NotFound."""
    row = connection.execute(BY_ID, {"id": area_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no area {area_id}")
    return with_shape(row)


def find_own(connection: Connection, account: str, reference: str) -> tuple[Area, dict[str, Any]]:
    """The area of an account by name or id, with its shape as GeoJSON. Raises NotFound.

    Whoever sees the rows of every account still means an area of their own.
    """
    args = {"account": account, "name": reference, "id": id_in(reference)}
    row = connection.execute(OF_ACCOUNT, args).fetchone() if reference.isprintable() else None
    if row is None:
        raise NotFound(
            f"there is no area {reference[:100]!r}; `constellation areas list` shows them",
            field="area",
        )
    return with_shape(row)


def with_shape(row: dict[str, Any]) -> tuple[Area, dict[str, Any]]:
    """An area and its shape as the validation of areas wrote it, to the last bit."""
    shape = shapely.from_wkb(bytes(row.pop("wkb")))
    document: dict[str, Any] = json.loads(shapely.to_geojson(shape))
    return Area(**row), document


def remove(connection: Connection, area_id: UUID) -> Area:
    """Remove an area; jobs that took its shape keep it. Raises NotFound."""
    row = connection.execute(DELETE, {"id": area_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no area {area_id}")
    return Area(**row)


def id_in(text: str) -> UUID | None:
    """The id that a text is, if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return None
