"""The checker of the chaos suite finds what it is for: each invariant is broken once."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID, uuid4

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from benchmarks.chaos.invariants import World, violations
from constellation_pipelines.domain.window import Window
from constellation_pipelines.lake import predictions
from constellation_pipelines.store import plans, tiles
from constellation_pipelines.store.database import Database
from tests.store.test_queue import finish, run
from tests.store.test_tiles import LEFT, RIGHT, commit, row, work

DAGSTER_RUN = """
insert into dagster.runs (run_id, pipeline_name, status, run_body) values (%s, 'job', %s, '{}')
"""
COMMON = {"run_id": "r", "job_id": "j", "scene": "s", "model": "m"}


@dataclass
class Done:
    """A completed run of two tiles with all its outputs, and what the checker is told of it."""

    database: Database
    run_id: UUID
    job_id: UUID
    table: Path
    raster: Path
    world: World

    def found(self) -> list[str]:
        """What the checker says."""
        return violations(self.database.url, self.world)

    def change(self, sql: LiteralString, *args: object) -> None:
        """Break something; it must be there to be broken."""
        assert self.database.execute(sql, args) > 0


Break = Callable[[Done], None]


@pytest.fixture
def done(database: Database, tmp_path: Path) -> Done:
    lease = work(database).lease
    commit(database, lease, row(LEFT), row(RIGHT))
    table, raster = tmp_path / "predictions" / "run.parquet", tmp_path / "rasters" / "classes.tif"
    with database.transaction() as connection:
        predictions.write(table, tiles.of_run(connection, lease.run_id), COMMON)
        write_raster(raster, np.full((512, 1024), 3, np.uint8))
        outputs = {"predictions": str(table), "classes": str(raster)}
        plans.record_metrics(connection, lease.run_id, {"outputs": outputs})
        connection.execute(DAGSTER_RUN, (str(lease.run_id), "SUCCESS"))
        connection.execute("update constellation.events set published_at = now()")
    finish(database, lease)
    found = database.fetch_one(
        "select job_id from constellation.runs where id = %s", (lease.run_id,)
    )
    assert found is not None
    streamed = database.fetch_all(
        "select job_id || '.' || id as message from constellation.events order by id"
    )
    world = World(
        tmp_path,
        lambda _: [2],
        accepted=[str(found["job_id"])],
        streamed=[str(event["message"]) for event in streamed],
    )
    return Done(database, lease.run_id, found["job_id"], table, raster, world)


def write_raster(path: Path, classes: Any) -> None:
    """A class raster of 1024 x 512 pixels."""
    path.parent.mkdir(exist_ok=True)
    height, width = classes.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(path, "w", nodata=255, **place, **profile) as raster:
        raster.write(classes, 1)


def test_nothing_is_said_of_a_run_that_ended_well(done: Done) -> None:
    assert done.found() == []


def test_an_accepted_job_that_is_not_there(done: Done) -> None:
    lost = str(uuid4())
    done.world = replace(done.world, accepted=[lost])
    assert done.found() == [f"job {lost} was accepted by the API and is not in the database"]


def break_job(state: str, error: str | None = None) -> Break:
    sql = "update constellation.jobs set state = %s, error = %s"
    return lambda done: done.change(sql, state, error)


def break_run(column: str, value: object) -> Break:
    return lambda done: done.change(f"update constellation.runs set {column} = %s", value)


def break_tile(column: str, value: object) -> Break:
    sql = f"update constellation.tiles set {column} = %s where col_off_px = 512"
    return lambda done: done.change(sql, value)


def break_row_count(*stated: int) -> Break:
    def do(done: Done) -> None:
        done.world = replace(done.world, row_counts=lambda _: list(stated))

    return do


def lose_message(done: Done) -> None:
    done.world = replace(done.world, streamed=done.world.streamed[1:])


def swap_messages(done: Done) -> None:
    first, second, *others = done.world.streamed
    done.world = replace(done.world, streamed=[second, first, *others])


def end_again(done: Done) -> None:
    done.change("update dagster.runs set status = 'FAILURE'")
    done.change("update dagster.runs set status = 'SUCCESS'")


def lose_tile(done: Done) -> None:
    done.change("delete from constellation.tiles where col_off_px = 512")


def double_tile(done: Done) -> None:
    done.change(
        "insert into constellation.tiles select (jsonb_populate_record(t, jsonb_build_object("
        "'id', gen_random_uuid(), 'digest', 'other'))).* "
        "from constellation.tiles t where col_off_px = 512"
    )


def revive_lease(done: Done) -> None:
    done.change("update constellation.leases set released_at = null")


def forget_lease(done: Done) -> None:
    done.change("update constellation.run_queue set state = 'leased', pid = 4711")
    done.world = replace(done.world, run_pids=[4711])


def leave_process(done: Done) -> None:
    done.change("update constellation.run_queue set pid = 4712")
    done.world = replace(done.world, run_pids=[4712])


def hold_without_process(done: Done) -> None:
    revive_lease(done)
    done.change("update constellation.run_queue set state = 'leased', pid = 4711")


def stop_worker_that_holds(done: Done) -> None:
    hold_without_process(done)
    done.change("update constellation.workers set stopped_at = now()")


def queue_again(done: Done) -> None:
    done.change("update constellation.run_queue set state = 'queued'")


def publish_nothing(done: Done) -> None:
    done.change("update constellation.events set published_at = null")


def lose_table(done: Done) -> None:
    done.table.unlink()


def lose_raster(done: Done) -> None:
    done.raster.unlink()


def tear_raster(done: Done) -> None:
    done.raster.write_bytes(done.raster.read_bytes()[:200])


def hole_in_raster(done: Done) -> None:
    classes = np.full((512, 1024), 3, np.uint8)
    classes[:, 600:610] = 255
    write_raster(done.raster, classes)


def write_table_of(*windows: Window) -> Break:
    """The file holds these tiles instead of the two of the run."""

    def do(done: Done) -> None:
        with done.database.transaction() as connection:
            rows = tiles.of_run(connection, done.run_id)
        chosen = [r for w in windows for r in rows if r["col_off_px"] == w.col_off_px]
        predictions.write(done.table, chosen, COMMON)
        done.world = replace(done.world, row_counts=lambda _: [len(chosen)])

    return do


def leave_file(name: str) -> Break:
    def do(done: Done) -> None:
        path = done.world.lake / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    return do


BREAKS: dict[str, tuple[Break, str]] = {
    "a job that still runs": (break_job("RUNNING"), "job {job} .* has not ended: it is RUNNING"),
    "a job that failed": (break_job("FAILED", "why"), "job {job} .* is FAILED: why"),
    "a job cancelled by nobody": (break_job("CANCELLED"), "job {job} .* nobody asked for that"),
    "a run that still runs": (
        break_run("state", "RUNNING"),
        "run {run} of job {job} has not ended: it is RUNNING, in Dagster SUCCESS, in the queue",
    ),
    "a run that Dagster sees otherwise": (
        break_run("state", "FAILED"),
        "run {run} is FAILED, but SUCCESS in Dagster",
    ),
    "a live lease of a run that is done": (
        revive_lease,
        r"lease \d+ of run {run} on SIM-0 slot 0 is live, but its run is done",
    ),
    "a leased run without a process": (
        hold_without_process,
        "run {run} is leased, but its process 4711 does not live",
    ),
    "a lease of a worker that has stopped": (
        stop_worker_that_holds,
        r"lease \d+ of run {run} on SIM-0 slot 0 is live, but its worker has stopped",
    ),
    "a leased run without a lease": (
        forget_lease,
        r"run {run} is leased under fence \d+ with 0 live leases instead of 1",
    ),
    "a process without a lease": (leave_process, "process 4712 of run {run} lives without a lease"),
    "a run that still waits": (queue_again, "run {run} is still queued in the queue, attempt 1"),
    "events that were not published": (publish_nothing, r"\d+ events were not published"),
    "an event that is not in the stream": (
        lose_message,
        r"event \d+ \([a-z.]+ of job {job}\) was published and is not in the stream",
    ),
    "events of a job in another order": (
        swap_messages,
        r"event \d+ of job {job} stands in the stream after \d+",
    ),
    "a run that ended and went on": (
        end_again,
        "run {run} has ended more than once: run.completed, run.failed, run.completed",
    ),
    "a tile lost in PostGIS": (
        lose_tile,
        "tile .* of run {run} is in its file, but not in PostGIS",
    ),
    "a tile twice in PostGIS": (double_tile, r"tile \(0, 512\) of scene .* has 2 rows"),
    "a tile that failed": (
        lambda done: done.change(
            "update constellation.tiles set state = 'FAILED', error = 'x' where col_off_px = 512"
        ),
        r"tile \(0, 512\) of run {run} is FAILED: x",
    ),
    "a tile of no run's file": (
        write_table_of(LEFT),
        r"tile \(0, 512\) of run {run} is in PostGIS, but not in its file",
    ),
    "a tile twice in the file": (
        write_table_of(LEFT, RIGHT, RIGHT),
        "tile .* of run {run} is in its file more than once",
    ),
    "fewer tiles than planned": (
        break_run("tiles_planned", 3),
        "run {run} had 3 tiles to write, its file has 2",
    ),
    "a run that counted wrong": (
        break_run("tiles_completed", 1),
        "run {run} counts 1 tiles, PostGIS has 2",
    ),
    "another count in Dagster": (
        break_row_count(2, 1),
        "run {run} has 2 tiles in its file, Dagster states 2, 1",
    ),
    "no materialization in Dagster": (break_row_count(), "Dagster states no count"),
    "a file that is not there": (lose_table, "run {run} is COMPLETED without its GeoParquet file"),
    "a raster that is not there": (lose_raster, "run {run} is COMPLETED without its class raster"),
    "a torn raster": (tear_raster, "the class raster of run {run} cannot be read"),
    "a hole in the raster": (
        hole_in_raster,
        r"tile \(0, 512\) of run {run} is committed, and 5120 of its 262144 pixels are missing",
    ),
    "a working file": (leave_file("work/run/class.raw"), "work/run/class.raw was left behind"),
    "half a file": (leave_file("rasters/.cog.tif"), "rasters/.cog.tif was left behind"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_invariant_is_told_with_its_place(done: Done, name: str) -> None:
    do, sentence = BREAKS[name]
    do(done)
    pattern = sentence.format(run=done.run_id, job=done.job_id)
    found = done.found()
    assert any(re.search(pattern, said) for said in found), found


def test_a_working_file_that_a_retry_can_go_on_with_may_stay(done: Done) -> None:
    failed = run(done.database)
    done.change("update constellation.runs set state = 'FAILED' where id = %s", failed)
    leave_file(f"work/{failed}/class.raw")(done)
    assert not [said for said in done.found() if "left behind" in said]


def test_tiles_that_a_later_run_took_over_are_still_there(done: Done) -> None:
    """Two jobs on one scene: the later writer owns the rows, and nothing is lost."""
    done.change("update constellation.tiles set run_id = %s", run(done.database))
    assert not [said for said in done.found() if str(done.run_id) in said]
