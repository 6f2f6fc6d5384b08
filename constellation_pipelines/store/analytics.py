"""Which runs' files analytics may read: those the account sees, asked for under its policies."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from constellation_pipelines.domain.analytics import Box
from constellation_pipelines.store.database import Connection

# Footprints of tiles may reach a little beyond their scene's, whose edges are straight.
MARGIN_DEG = 0.5

RUNS = """
select r.id, r.scene_id, r.tiles_reused,
       to_char(r.created_at at time zone 'utc', 'YYYY-MM-DD') as date
  from constellation.runs r join constellation.scenes s on s.id = r.scene_id
 where r.model_id = %(model_id)s and r.state = 'COMPLETED'
   and (%(scene_id)s::uuid is null or r.scene_id = %(scene_id)s)
   and (%(job_id)s::uuid is null or r.job_id = %(job_id)s)
   and (%(first)s::date is null
        or coalesce(r.finished_at, 'infinity') >= %(first)s::timestamp at time zone 'utc')
   and (%(boxes)s::float8[] is null or exists (
          select 1 from generate_subscripts(%(boxes)s::float8[], 1) n
           where s.footprint::geometry && st_expand(st_makeenvelope(
                   (%(boxes)s::float8[])[n][1], (%(boxes)s::float8[])[n][2],
                   (%(boxes)s::float8[])[n][3], (%(boxes)s::float8[])[n][4], 4326), %(margin)s)))
 order by r.id
 limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which results: of a model, and of a scene, a job and places where these are given."""

    model_id: UUID
    scene_id: UUID | None = None
    job_id: UUID | None = None
    boxes: tuple[Box, ...] | None = None
    first: date | None = None


@dataclass(frozen=True, slots=True)
class CompletedRun:
    """A run that has its file in the lake. `date` is yyyy-mm-dd, that of its folder."""

    id: UUID
    scene_id: UUID
    date: str
    tiles_reused: int


def runs_of(connection: Connection, wanted: Selection, *, limit: int) -> list[CompletedRun]:
    """The first `limit` completed runs that may hold what is wanted. Runs that ended before
    `first` are left out; later ones are not, for they may have computed a tile anew.
    """
    args = {
        "model_id": wanted.model_id,
        "scene_id": wanted.scene_id,
        "job_id": wanted.job_id,
        "boxes": None if wanted.boxes is None else [list(box) for box in wanted.boxes],
        "first": wanted.first,
        "margin": MARGIN_DEG,
        "limit": limit,
    }
    return [CompletedRun(**row) for row in connection.execute(RUNS, args)]
