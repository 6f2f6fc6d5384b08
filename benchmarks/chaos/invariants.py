"""What must hold once all work has ended, whatever was killed meanwhile.

Each check looks at the database, the lake or Dagster's word, and answers with a sentence for each
violation, which names the job, run or tile. A device may hold several leases, one per slot.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True, slots=True)
class World:
    """What is looked at. `row_counts` gives the counts a run's materializations state.

    `accepted` are ids of the jobs the API has promised; `run_pids` the run processes that live,
    those that wait for a run among them; `streamed` the messages of the stream, as
    `<job>.<event>`, in its order.
    """

    lake: Path
    row_counts: Callable[[str], Collection[int]]
    accepted: Collection[str] = ()
    run_pids: Collection[int] = ()
    streamed: Sequence[str] = ()


Check = Callable[[Connection, World], Iterator[str]]


def violations(database_url: str, world: World) -> list[str]:
    """A sentence for each violation; none when all is well."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        return [sentence for check in CHECKS for sentence in check(connection, world)]


# ---- jobs and runs ----

JOBS = "select id, name, state, error, cancel_requested_at from constellation.jobs order by id"

OPEN_RUNS = """
select r.id, r.job_id, r.state, r.dagster_status, q.state as queue_state, q.attempt
  from constellation.runs r left join constellation.run_queue q on q.run_id = r.id
 where r.state not in ('COMPLETED', 'FAILED', 'CANCELLED') order by r.id
"""

# A run that was cancelled, or refused, before Dagster heard of it has no row there.
DAGSTER_DIFFERS = """
select r.id, r.state, d.status
  from constellation.runs r left join dagster.runs d on d.run_id = r.id::text
 where (r.state, coalesce(d.status, 'none')) not in (
   ('COMPLETED', 'SUCCESS'), ('FAILED', 'FAILURE'), ('CANCELLED', 'CANCELED'),
   ('FAILED', 'none'), ('CANCELLED', 'none'))
   and r.state in ('COMPLETED', 'FAILED', 'CANCELLED')
 order by r.id
"""


def every_job_is_kept(connection: Connection, world: World) -> Iterator[str]:
    """A job that was accepted is there."""
    there = {str(row["id"]) for row in connection.execute(JOBS)}
    for job_id in sorted(set(world.accepted) - there):
        yield f"job {job_id} was accepted by the API and is not in the database"


def every_job_has_ended_well(connection: Connection, world: World) -> Iterator[str]:
    """Jobs are COMPLETED, or CANCELLED where that was asked for."""
    for job in connection.execute(JOBS):
        if job["state"] in ("PENDING", "RUNNING"):
            yield f"job {job['id']} ({job['name']}) has not ended: it is {job['state']}"
        elif job["state"] == "FAILED":
            yield f"job {job['id']} ({job['name']}) is FAILED: {job['error'] or 'without a reason'}"
        elif job["state"] == "CANCELLED" and job["cancel_requested_at"] is None:
            yield f"job {job['id']} ({job['name']}) is CANCELLED, and nobody asked for that"


def every_run_has_ended(connection: Connection, world: World) -> Iterator[str]:
    """Runs are in a final state, the same one in Dagster."""
    for run in connection.execute(OPEN_RUNS):
        yield (
            f"run {run['id']} of job {run['job_id']} has not ended: it is {run['state']}, "
            f"in Dagster {run['dagster_status']}, in the queue {run['queue_state']}, "
            f"attempt {run['attempt']}"
        )
    for run in connection.execute(DAGSTER_DIFFERS):
        yield f"run {run['id']} is {run['state']}, but {run['status'] or 'unknown'} in Dagster"


TOLD_AGAIN = """
select run_id, string_agg(type, ', ' order by id) as types from constellation.events
 where type in ('run.completed', 'run.failed', 'run.cancelled')
 group by run_id having count(*) > 1 order by run_id
"""


def every_end_is_told_once(connection: Connection, world: World) -> Iterator[str]:
    """A run ends once: it does not fail and then go on."""
    for row in connection.execute(TOLD_AGAIN):
        yield f"run {row['run_id']} has ended more than once: {row['types']}"


# ---- leases, queue, events ----

LIVE_LEASES = """
select l.fence, l.run_id, g.uuid, l.slot, l.expires_at < now() as expired, w.stopped_at,
       q.state as queue_state, q.fence as queue_fence
  from constellation.leases l
  join constellation.gpus g on g.id = l.gpu_id
  join constellation.workers w on w.id = l.worker_id
  left join constellation.run_queue q on q.run_id = l.run_id
 where l.released_at is null order by l.fence
"""

RUN_PROCESSES = """
select q.run_id, q.state, q.fence, q.pid, q.gpu_count,
       (select count(*) from constellation.leases l
         where l.fence = q.fence and l.run_id = q.run_id and l.released_at is null) as leases
  from constellation.run_queue q where q.state = 'leased' or q.pid is not null order by q.run_id
"""

NOT_DONE = """
select run_id, state, attempt, enqueued_at, not_before from constellation.run_queue
 where state <> 'done' order by run_id
"""

UNPUBLISHED = """
select count(*) as n, min(id) as first, max(id) as last from constellation.events
 where published_at is null
"""

EVENTS = """
select id, job_id, type, run_id from constellation.events where published_at is not null order by id
"""


def every_lease_has_its_run(connection: Connection, world: World) -> Iterator[str]:
    """No live lease without a run that holds it, and none past its end."""
    for lease in connection.execute(LIVE_LEASES):
        name = f"lease {lease['fence']} of run {lease['run_id']} on {lease['uuid']}"
        name += f" slot {lease['slot']}"
        if (lease["queue_state"], lease["queue_fence"]) != ("leased", lease["fence"]):
            state, fence = lease["queue_state"], lease["queue_fence"]
            yield f"{name} is live, but its run is {state or 'unknown'} under fence {fence}"
        if lease["stopped_at"] is not None:
            yield f"{name} is live, but its worker has stopped"
        if lease["expired"]:
            yield f"{name} has expired and was not reaped"


def every_lease_has_its_process(connection: Connection, world: World) -> Iterator[str]:
    """No leased run without a live process, no process of a run without a lease."""
    for run in connection.execute(RUN_PROCESSES):
        if run["state"] != "leased":
            if run["pid"] in world.run_pids:
                yield f"process {run['pid']} of run {run['run_id']} lives without a lease"
            continue
        if run["pid"] not in world.run_pids:
            yield f"run {run['run_id']} is leased, but its process {run['pid']} does not live"
        if run["leases"] != run["gpu_count"]:
            yield (
                f"run {run['run_id']} is leased under fence {run['fence']} with {run['leases']} "
                f"live leases instead of {run['gpu_count']}"
            )


def queue_is_drained(connection: Connection, world: World) -> Iterator[str]:
    """Nothing waits or is held."""
    for row in connection.execute(NOT_DONE):
        yield (
            f"run {row['run_id']} is still {row['state']} in the queue, attempt {row['attempt']}, "
            f"since {row['enqueued_at']:%H:%M:%S}"
        )


def outbox_is_drained(connection: Connection, world: World) -> Iterator[str]:
    """Every event has reached the stream."""
    (row,) = connection.execute(UNPUBLISHED).fetchall()
    if row["n"]:
        yield f"{row['n']} events were not published, from {row['first']} to {row['last']}"


def stream_has_every_event(connection: Connection, world: World) -> Iterator[str]:
    """What was published is in the stream, the events of a job in their order."""
    there = set(world.streamed)
    for event in connection.execute(EVENTS):
        if f"{event['job_id']}.{event['id']}" not in there:
            yield (
                f"event {event['id']} ({event['type']} of job {event['job_id']}) was published and "
                "is not in the stream"
            )
    latest: dict[str, int] = {}
    for message in dict.fromkeys(world.streamed):  # one that is there twice counts where it came
        job_id, _, event_id = message.partition(".")
        if int(event_id) < latest.get(job_id, 0):
            yield f"event {event_id} of job {job_id} stands in the stream after {latest[job_id]}"
        latest[job_id] = max(int(event_id), latest.get(job_id, 0))


# ---- tiles: once each, the same in PostGIS, GeoParquet, Dagster and the raster ----

COMPLETED_RUNS = """
select r.id, r.tiles_planned, r.tiles_reused, r.tiles_completed, r.tiles_failed,
       r.tiles_skipped, r.metrics
  from constellation.runs r
 where r.state = 'COMPLETED' and r.model_id is not null order by r.id
"""

# Rows that a later run has taken over are still rows of the tiles in this run's file.
TILES_OF_RUN = """
select digest, run_id, state, error, row_off_px, col_off_px, height_px, width_px, valid_fraction
  from constellation.tiles where run_id = %(run_id)s or digest = any(%(digests)s)
 order by row_off_px, col_off_px
"""

DOUBLED = """
select scene_id, model_id, row_off_px, col_off_px, count(*) as n from constellation.tiles
 group by 1, 2, 3, 4 having count(*) > 1 order by 1, 2, 3, 4
"""


def no_tile_is_doubled(connection: Connection, world: World) -> Iterator[str]:
    """One row for each window of a scene under a model."""
    for row in connection.execute(DOUBLED):
        yield (
            f"tile ({row['row_off_px']}, {row['col_off_px']}) of scene {row['scene_id']} has "
            f"{row['n']} rows"
        )


def counts_agree(connection: Connection, world: World) -> Iterator[str]:
    """Of each completed run: every planned tile once, in PostGIS, in GeoParquet, in Dagster."""
    for run in connection.execute(COMPLETED_RUNS).fetchall():
        path = output(run, "predictions")
        if path is None or not path.is_file():
            yield f"run {run['id']} is COMPLETED without its GeoParquet file {path}"
            continue
        digests = file_digests(path)
        args = {"run_id": run["id"], "digests": digests}
        rows = connection.execute(TILES_OF_RUN, args).fetchall()
        yield from compare_tiles(run, digests, rows)
        yield from compare_counts(run, digests, rows, world.row_counts(str(run["id"])))


def compare_tiles(run: DictRow, digests: list[str], rows: list[DictRow]) -> Iterator[str]:
    """The file and the table, tile by tile."""
    for digest in sorted({digest for digest in digests if digests.count(digest) > 1}):
        yield f"tile {digest} of run {run['id']} is in its file more than once"
    there = {row["digest"] for row in rows}
    for digest in sorted(set(digests) - there):
        yield f"tile {digest} of run {run['id']} is in its file, but not in PostGIS"
    for row in rows:
        name = f"tile ({row['row_off_px']}, {row['col_off_px']}) of run {run['id']}"
        if row["digest"] not in digests:
            yield f"{name} is in PostGIS, but not in its file"
        if row["state"] == "FAILED":
            yield f"{name} is FAILED: {row['error']}"


def compare_counts(
    run: DictRow, digests: list[str], rows: list[DictRow], stated: Collection[int]
) -> Iterator[str]:
    """The numbers that the run, its file and Dagster state."""
    own = [row for row in rows if row["run_id"] == run["id"]]
    due = run["tiles_planned"] - run["tiles_reused"]
    if len(digests) != due:
        yield f"run {run['id']} had {due} tiles to write, its file has {len(digests)}"
    if len(rows) != due:
        yield f"run {run['id']} had {due} tiles to write, PostGIS has {len(rows)}"
    counted = run["tiles_completed"] + run["tiles_failed"] + run["tiles_skipped"]
    if len(own) == len(rows) != counted:
        yield f"run {run['id']} counts {counted} tiles, PostGIS has {len(rows)}"
    if not stated or any(count != len(digests) for count in stated):
        said = ", ".join(map(str, stated)) or "no count"
        yield f"run {run['id']} has {len(digests)} tiles in its file, Dagster states {said}"


def file_digests(path: Path) -> list[str]:
    """The tiles of a GeoParquet file, by an independent reader."""
    import duckdb

    with duckdb.connect() as connection:
        query = "select digest from read_parquet(?)"
        return [str(row[0]) for row in connection.execute(query, [str(path)]).fetchall()]


def output(run: DictRow, kind: str) -> Path | None:
    """Where a run says an output lies."""
    outputs: dict[str, Any] = run["metrics"].get("outputs") or {}
    return Path(outputs[kind]) if outputs.get(kind) else None


def rasters_are_whole(connection: Connection, world: World) -> Iterator[str]:
    """The class raster of each completed run can be read, and misses no committed tile."""
    for run in connection.execute(COMPLETED_RUNS).fetchall():
        if run["tiles_planned"] == 0:
            continue
        path = output(run, "classes")
        if path is None or not path.is_file():
            yield f"run {run['id']} is COMPLETED without its class raster {path}"
            continue
        args = {"run_id": run["id"], "digests": []}
        rows = connection.execute(TILES_OF_RUN, args).fetchall()
        yield from holes(run["id"], path, rows)


def holes(run_id: UUID, path: Path, rows: list[DictRow]) -> Iterator[str]:
    """Tiles whose every pixel held data, and whose pixels in the raster say nothing."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path, driver="GTiff") as raster:
            nothing, classes = raster.nodata, raster.read(1)
    except RasterioError as error:
        yield f"the class raster of run {run_id} cannot be read: {error}"
        return
    for row in rows:
        top, left = row["row_off_px"], row["col_off_px"]
        pixels = classes[top : top + row["height_px"], left : left + row["width_px"]]
        empty = int((pixels == nothing).sum())
        if row["state"] == "COMPLETED" and row["valid_fraction"] == 1 and empty:
            yield (
                f"tile ({top}, {left}) of run {run_id} is committed, and {empty} of its "
                f"{pixels.size} pixels are missing from the class raster"
            )


# ---- what is left over ----


UNFINISHED = "select id from constellation.runs where state in ('FAILED', 'CANCELLED')"


def lake_is_tidy(connection: Connection, world: World) -> Iterator[str]:
    """No half-written file is left, and no working file save for a retry to go on with."""
    unfinished = {str(row["id"]) for row in connection.execute(UNFINISHED)}
    for path in sorted(path for path in world.lake.rglob("*") if path.is_file()):
        is_work = path.parent.parent == world.lake / "work"
        if path.name.startswith(".") or (is_work and path.parent.name not in unfinished):
            yield f"{path} was left behind"


CHECKS: tuple[Check, ...] = (
    every_job_is_kept,
    every_job_has_ended_well,
    every_run_has_ended,
    every_end_is_told_once,
    every_lease_has_its_run,
    every_lease_has_its_process,
    queue_is_drained,
    outbox_is_drained,
    stream_has_every_event,
    no_tile_is_doubled,
    counts_agree,
    rasters_are_whole,
    lake_is_tidy,
)
