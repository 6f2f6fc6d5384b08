"""Tiles: the results, written once each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import shapely
from psycopg.types.json import Jsonb

from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.store import queue
from constellation_pipelines.store.database import Connection

COLUMNS = (
    "id, digest, row_off_px, col_off_px, height_px, width_px, state, footprint, geom_3857, "
    "area_km2, class_counts, top_class, confidence, valid_fraction, gsd_mismatch, read_ms, "
    "infer_ms, error, attempts, statistics, cloud_fraction"
)

STAGE = """
create temporary table if not exists staged_tiles (
  id uuid, digest text, row_off_px int, col_off_px int, height_px int, width_px int, state text,
  footprint geometry, geom_3857 geometry, area_km2 float8, class_counts jsonb, top_class smallint,
  confidence float8, valid_fraction float8, gsd_mismatch boolean, read_ms float8, infer_ms float8,
  error text, attempts int, statistics jsonb, cloud_fraction float8
) on commit delete rows
"""

COPY = f"copy staged_tiles ({COLUMNS}) from stdin"

# A valid tile of another run is replaced only by a valid one: a failure never hides a result. With
# `replace` off it stays even then, unless that run has ended without completing.
UPSERT = """
insert into constellation.tiles as t
  (scene_id, model_id, run_id, job_id, account,
   id, digest, row_off_px, col_off_px, height_px, width_px,
   state, footprint, geom_3857, area_km2, class_counts, top_class, confidence, valid_fraction,
   gsd_mismatch, read_ms, infer_ms, error, attempts, statistics, cloud_fraction)
select r.scene_id, r.model_id, r.id, r.job_id, r.account,
       s.id, s.digest, s.row_off_px, s.col_off_px, s.height_px, s.width_px,
       s.state, s.footprint::geography, s.geom_3857, s.area_km2,
       s.class_counts, s.top_class, s.confidence, s.valid_fraction, s.gsd_mismatch, s.read_ms,
       s.infer_ms, s.error, s.attempts, s.statistics, s.cloud_fraction
  from staged_tiles s, constellation.runs r where r.id = %(run_id)s
on conflict (digest) do update
   set run_id = excluded.run_id, job_id = excluded.job_id, account = excluded.account,
       state = excluded.state,
       class_counts = excluded.class_counts, top_class = excluded.top_class,
       confidence = excluded.confidence, valid_fraction = excluded.valid_fraction,
       gsd_mismatch = excluded.gsd_mismatch, read_ms = excluded.read_ms,
       infer_ms = excluded.infer_ms, error = excluded.error, attempts = excluded.attempts,
       statistics = excluded.statistics, cloud_fraction = excluded.cloud_fraction,
       created_at = clock_timestamp()
 where t.state = 'FAILED'
    or (excluded.state <> 'FAILED'
        and (%(replace)s or t.run_id = excluded.run_id
             or exists (select 1 from constellation.runs o
                         where o.id = t.run_id and o.state in ('FAILED', 'CANCELLED'))))
"""

COUNT = """
update constellation.runs r
   set tiles_completed = n.completed, tiles_failed = n.failed, tiles_skipped = n.skipped
  from (select count(*) filter (where state = 'COMPLETED') as completed,
               count(*) filter (where state = 'FAILED') as failed,
               count(*) filter (where state = 'SKIPPED') as skipped
          from constellation.tiles where run_id = %(run_id)s) n
 where r.id = %(run_id)s
returning r.tiles_planned as planned, r.tiles_reused as reused, r.tiles_completed as completed,
          r.tiles_failed as failed, r.tiles_skipped as skipped
"""

EMIT = """
insert into constellation.events (type, job_id, run_id, account, payload)
select 'tile.' || lower(s.state), r.job_id, r.id, j.submitted_by,
       jsonb_build_object(
         'row_off_px', s.row_off_px, 'col_off_px', s.col_off_px,
         'height_px', s.height_px, 'width_px', s.width_px,
         'state', s.state, 'top_class', s.top_class, 'confidence', s.confidence,
         'valid_fraction', s.valid_fraction, 'cloud_fraction', s.cloud_fraction, 'error', s.error,
         'bbox', jsonb_build_array(st_xmin(s.footprint), st_ymin(s.footprint),
                                   st_xmax(s.footprint), st_ymax(s.footprint)),
         'tiles_done',
           r.tiles_completed + r.tiles_failed + r.tiles_skipped + r.tiles_reused,
         'tiles_planned', r.tiles_planned)
  from staged_tiles s, constellation.runs r join constellation.jobs j on j.id = r.job_id
 where r.id = %(run_id)s
 order by s.row_off_px, s.col_off_px
"""

# A tile of a run that never completed is in no file of the lake, so only that run may build on it.
VALID = """
select t.digest, t.run_id
  from constellation.tiles t join constellation.runs r on r.id = t.run_id
 where t.state <> 'FAILED' and t.digest = any(%(digests)s)
   and (r.state = 'COMPLETED' or r.id = %(run_id)s)
"""

SOURCES = """
select r.metrics -> 'outputs' as outputs, array_agg(t.digest) as digests
  from constellation.tiles t join constellation.runs r on r.id = t.run_id
 where t.digest = any(%(digests)s) and r.metrics -> 'outputs' is not null
 group by r.id
"""

OF_RUN = """
select digest, row_off_px, col_off_px, height_px, width_px, state,
       st_asbinary(footprint::geometry) as footprint, area_km2, class_counts, top_class,
       confidence, valid_fraction, cloud_fraction, statistics, gsd_mismatch, read_ms, infer_ms,
       error, created_at
  from constellation.tiles where run_id = %(run_id)s
 order by row_off_px, col_off_px
"""


@dataclass(frozen=True, slots=True)
class TileRow:
    """A tile's result with its place on Earth, ready to be written."""

    digest: str
    result: TileResult
    footprint: shapely.MultiPolygon  # lon/lat, split at 180 degrees
    mercator: shapely.MultiPolygon  # EPSG:3857
    area_km2: float
    gsd_mismatch: bool
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    planned: int
    reused: int
    completed: int
    failed: int
    skipped: int

    @property
    def done(self) -> int:
        """Tiles of which nothing more will come."""
        return self.reused + self.completed + self.failed + self.skipped


@dataclass(frozen=True, slots=True)
class Source:
    """Where tiles lie that another run has done: its outputs by name, and their digests."""

    outputs: dict[str, str | None]
    digests: list[str]


def rehearse(connection: Connection, run_id: UUID) -> None:
    """Go through a commit without tiles, under the id of no run: the next one will be quicker.

    The connection then has its staging table, and its server process has seen all it must look up.
    """
    args = {"run_id": run_id, "replace": False}
    valid(connection, [""], run_id)
    connection.execute(STAGE)
    with connection.cursor().copy(COPY):
        pass
    for statement in (UPSERT, COUNT, EMIT):
        connection.execute(statement, args)


def commit(
    connection: Connection, lease: queue.Lease, rows: Iterable[TileRow], *, replace: bool = True
) -> Progress:
    """Write tiles, counts and events together, or nothing: LeaseLost when the lease has passed on.

    Writing the same tile twice leaves one row. `replace` takes the rows of other runs over, else
    what another run has committed meanwhile stays that run's.
    """
    args = {"run_id": lease.run_id, "replace": replace}
    lock_job(connection, lease.run_id)
    queue.guard(connection, lease)
    connection.execute(STAGE)
    with connection.cursor().copy(COPY) as copy:
        for row in rows:
            copy.write_row(record(row))
    connection.execute(UPSERT, args)
    count = connection.execute(COUNT, args).fetchone()
    if count is None:
        raise LookupError(f"run {lease.run_id} has no row")
    connection.execute(EMIT, args)
    connection.execute("select pg_notify('constellation_outbox', '')")
    return Progress(**count)


def lock_job(connection: Connection, run_id: UUID) -> None:
    """Take the lock under which events of the run's job are written, before any row of it."""
    connection.execute(
        "select constellation.lock_job(job_id) from constellation.runs where id = %s", (run_id,)
    )


def record(row: TileRow) -> Sequence[Any]:
    """The columns of one tile in the order of COLUMNS."""
    result, window = row.result, row.result.window
    counts = result.class_counts
    return (
        new_id(),
        row.digest,
        window.row_off_px,
        window.col_off_px,
        window.height_px,
        window.width_px,
        result.state.value,
        shapely.to_wkb(shapely.set_srid(row.footprint, 4326), hex=True, include_srid=True),
        shapely.to_wkb(shapely.set_srid(row.mercator, 3857), hex=True, include_srid=True),
        row.area_km2,
        Jsonb({str(value): count for value, count in sorted(counts.items())}),
        max(counts, key=lambda value: (counts[value], -value)) if counts else None,
        result.confidence,
        result.valid_fraction,
        row.gsd_mismatch,
        result.read_ms,
        result.infer_ms,
        result.error,
        row.attempts,
        Jsonb(result.statistics) if result.statistics else None,
        result.cloud_fraction,
    )


def valid(
    connection: Connection, digests: Sequence[str], run_id: UUID | None = None
) -> dict[str, UUID]:
    """The run that wrote each of `digests` that has a result to build on: of a completed run, or of
    `run_id` itself.
    """
    args = {"digests": list(digests), "run_id": run_id}
    rows = connection.execute(VALID, args).fetchall()
    return {row["digest"]: row["run_id"] for row in rows}


def sources_of(connection: Connection, digests: Sequence[str]) -> list[Source]:
    """The runs that hold these tiles, each with what it wrote."""
    rows = connection.execute(SOURCES, {"digests": list(digests)}).fetchall()
    return [Source(row["outputs"], row["digests"]) for row in rows]


def of_run(connection: Connection, run_id: UUID) -> list[dict[str, Any]]:
    """Every tile that this run wrote, row-major; footprints as WKB in lon/lat."""
    return [dict(row) for row in connection.execute(OF_RUN, {"run_id": run_id}).fetchall()]
