"""Lists of jobs: narrowed, in an order, page by page."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.job import Job
from constellation_pipelines.domain.states import JobState
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.jobs import SUMMED, job_of


class Sort(StrEnum):
    """The order of a list."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PRIORITY = "priority"  # the highest first, of one priority the newest


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list of jobs is narrowed to. None means any.

    Jobs were created from `created_after` on and before `created_before`. `bbox` is west, south,
    east, north in degrees, west > east across 180; `near` is lon, lat. Both look at the footprints
    of the job's scenes.
    """

    states: tuple[JobState, ...] | None = None
    submitted_by: str | None = None
    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    bbox: tuple[float, float, float, float] | None = None
    near: tuple[float, float] | None = None
    radius_m: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the keys of its last job."""

    priority: int
    created_at: datetime
    id: UUID


# Only what is asked for is in the statement, so that each has a plan of its own.
CONDITIONS = {
    "states": "j.state = any(%(states)s)",
    "submitted_by": "j.submitted_by = %(submitted_by)s",
    "model": "j.model = %(model)s",
    "created_after": "j.created_at >= %(created_after)s",
    "created_before": "j.created_at < %(created_before)s",
    "in_bbox": "j.id in (select r.job_id from constellation.runs r "
    "where r.scene_id = any(%(in_bbox)s))",
    "in_reach": "j.id in (select r.job_id from constellation.runs r "
    "where r.scene_id = any(%(in_reach)s))",
}

# Scenes are asked for first: they are shared, so no policy keeps their indexes from being used, and
# their number tells the planner whether to begin with them or with the newest jobs.
IN_BBOX = """
with box as (select (%(bbox)s::float8[])[1] as west, (%(bbox)s::float8[])[2] as south,
                    (%(bbox)s::float8[])[3] as east, (%(bbox)s::float8[])[4] as north),
part as (
  select st_makeenvelope(west, south, east, north, 4326) as shape from box where west <= east
   union all
  select st_makeenvelope(west, south, 180, north, 4326) from box where west > east
   union all
  select st_makeenvelope(-180, south, east, north, 4326) from box where west > east
)
select distinct s.id from part join constellation.scenes s
    on st_intersects(s.footprint::geometry, part.shape)
"""

IN_REACH = """
select id from constellation.scenes
 where st_dwithin(footprint, st_setsrid(st_makepoint((%(near)s::float8[])[1],
                                                     (%(near)s::float8[])[2]), 4326)::geography,
                  %(radius_m)s::float8)
"""

ORDERS = {
    Sort.NEWEST: "created_at desc, id desc",
    Sort.OLDEST: "created_at, id",
    Sort.PRIORITY: "priority desc, created_at desc, id desc",
}

BEYOND = {
    Sort.NEWEST: "(j.created_at, j.id) < (%(at)s, %(id)s)",
    Sort.OLDEST: "(j.created_at, j.id) > (%(at)s, %(id)s)",
    Sort.PRIORITY: "(j.priority, j.created_at, j.id) < (%(priority)s, %(at)s, %(id)s)",
}


def list_page(
    connection: Connection,
    wanted: JobFilter,
    *,
    sort: Sort = Sort.NEWEST,
    beyond: Place | None = None,
    limit: int,
) -> list[Job]:
    """The first jobs beyond a place, in this order."""
    args = values_of(wanted) | places_of(connection, wanted)
    if [] in args.values():
        return []
    conditions = [text for name, text in CONDITIONS.items() if name in args]
    if beyond is not None:
        conditions.append(BEYOND[sort])
        args |= {"priority": beyond.priority, "at": beyond.created_at, "id": beyond.id}
    # Sums are made of the page's jobs only.
    page = (
        "(select * from constellation.jobs j"
        + (" where " + " and ".join(conditions) if conditions else "")
        + f" order by {ORDERS[sort]} limit %(limit)s)"
    )
    statement = SUMMED.replace("{jobs}", page) + f" order by {of_page(ORDERS[sort])}"
    return [job_of(row) for row in connection.execute(statement, args | {"limit": limit})]


def values_of(wanted: JobFilter) -> dict[str, Any]:
    """The arguments of what a filter asks for."""
    args: dict[str, Any] = {
        "states": None if wanted.states is None else [str(state) for state in wanted.states],
        "submitted_by": wanted.submitted_by,
        "model": wanted.model,
        "created_after": wanted.created_after,
        "created_before": wanted.created_before,
    }
    return {name: value for name, value in args.items() if value is not None}


def places_of(connection: Connection, wanted: JobFilter) -> dict[str, list[UUID]]:
    """The ids of the scenes at each place that a filter asks for."""
    found: dict[str, list[UUID]] = {}
    if wanted.bbox is not None:
        args: dict[str, Any] = {"bbox": [float(degree) for degree in wanted.bbox]}
        found["in_bbox"] = [row["id"] for row in connection.execute(IN_BBOX, args)]
    if wanted.near is not None:
        args = {"near": [float(degree) for degree in wanted.near], "radius_m": wanted.radius_m}
        found["in_reach"] = [row["id"] for row in connection.execute(IN_REACH, args)]
    return found


def of_page(order: str) -> str:
    """An order, of the columns of the page."""
    return ", ".join(f"j.{one}" for one in order.split(", "))
