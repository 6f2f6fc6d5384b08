"""Lists of jobs: narrowed, in an order, page by page.

A page is one value, the text that goes to the client: to make rows of it, records, forms and text
again took two thirds of a request's processor time.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.states import JobState
from constellation_pipelines.store import places
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.jobs import SUMMED, SUMS


class Sort(StrEnum):
    """The order of a list."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PRIORITY = "priority"  # the highest first, of one priority the newest


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list of jobs is narrowed to. None means any.

    Jobs were created from `created_after` on and before `created_before`. `bbox` is west, south,
    east, north in degrees, west > east across 180; `near` is lon, lat. Both look at where the job's
    tiles lie, planned or done: all of its scenes, or what its area touched of them.
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


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs as the text of a JSON array, in order; where they ended if there are more."""

    items: str
    end: Place | None


# Only what is asked for is in the statement, so that each has a plan of its own.
CONDITIONS = {
    "states": "j.state = any(%(states)s)",
    "submitted_by": "j.submitted_by = %(submitted_by)s",
    "model": "j.model = %(model)s",
    "created_after": "j.created_at >= %(created_after)s",
    "created_before": "j.created_at < %(created_before)s",
}

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


# Instants as pydantic writes them, so that a job has one text wherever it is shown.
INSTANT = """
replace(to_char({0} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.USZ'), '.000000Z', 'Z') as {0}
"""

FORM = ", ".join(
    (
        "j.id, j.name, j.state, j.priority, j.origin, j.submitted_by, j.params",
        *(INSTANT.format(name).strip() for name in ("created_at", "started_at", "finished_at")),
        "j.error",
        SUMMED,
    )
)

# One more than the page has is looked for, to know whether it is the last. How many there are to be
# is in the statement: with a number that is not known a plan for all of them looks as good.
PAGE = f"""
with page as materialized (
  select j.*, row_number() over (order by {{order}}) as place
    from constellation.jobs j {{where}} order by {{order}} limit {{limit}} + 1
), {SUMS}
select (select coalesce(json_agg(to_json(form)), '[]')::text
          from (select {FORM} from page j left join sums s on s.job_id = j.id
                 where j.place <= {{limit}} order by j.place) form) as items,
       last.priority, last.created_at, last.id
  from (select count(*) as found from page) counted
  left join page last on found > {{limit}} and last.place = {{limit}}
"""


def list_page(
    connection: Connection,
    wanted: JobFilter,
    *,
    sort: Sort = Sort.NEWEST,
    beyond: Place | None = None,
    limit: int,
) -> Page:
    """The first `limit` jobs beyond a place, in this order."""
    args = values_of(wanted)
    conditions = [CONDITIONS[name] for name in args]
    for region in places.regions_of(wanted.bbox, wanted.near, wanted.radius_m):
        lies_there, of_region = places.condition(connection, region)
        if lies_there is None:
            return Page("[]", None)
        conditions.append(lies_there)
        args |= of_region
    # Which plan is good depends on what is filtered for; without a filter there is one for all.
    prepare = None if not conditions else False
    if beyond is not None:
        conditions.append(BEYOND[sort])
        args |= {"priority": beyond.priority, "at": beyond.created_at, "id": beyond.id}
    where = "where " + " and ".join(conditions) if conditions else ""
    statement = PAGE.format(order=ORDERS[sort], where=where, limit=int(limit))
    row = connection.execute(statement, args, prepare=prepare).fetchone()
    assert row is not None
    end = Place(row["priority"], row["created_at"], row["id"]) if row["id"] else None
    return Page(row["items"], end)


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
