"""Tiles are written once, under a live lease, together with their counts and events."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
import shapely

from constellation_pipelines.domain.errors import LeaseLost
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult, tile_digest
from constellation_pipelines.domain.window import Window
from constellation_pipelines.store import coverage, queue, tiles
from constellation_pipelines.store.database import Database
from tests.store.test_queue import claimed, run, worker

BOX = "MULTIPOLYGON(((0 0, 1 0, 1 1, 0 1, 0 0)))"
LEFT, RIGHT = Window(0, 0, 512, 512), Window(0, 512, 512, 512)


@dataclass(frozen=True)
class Work:
    """A claimed run of a scene and a model."""

    lease: queue.Lease
    scene_id: UUID
    model_id: UUID


def work(database: Database, scene_id: UUID | None = None, model_id: UUID | None = None) -> Work:
    scene_id, model_id = scene_id or new_scene(database), model_id or new_model(database)
    run_id = run(database)
    database.execute(
        "update constellation.runs set scene_id = %s, model_id = %s, tiles_planned = 2 "
        "where id = %s",
        (scene_id, model_id, run_id),
    )
    return Work(claimed(database, worker(database)).lease, scene_id, model_id)


def new_scene(database: Database) -> UUID:
    scene_id = new_id()
    database.execute(
        "insert into constellation.scenes "
        "(id, key, uri, digest, grid, bands, gsd_m, footprint, area_km2, item) "
        "values (%s, %s, '/s.tif', %s, '{}', '[]', 10, %s, 12000, '{}')",
        (scene_id, str(scene_id), str(scene_id), BOX),
    )
    return scene_id


def new_model(database: Database) -> UUID:
    model_id = new_id()
    database.execute(
        "insert into constellation.models (id, name, version, digest, folder, document) "
        "values (%s, %s, '1', 'd', '/m', '{}')",
        (model_id, str(model_id)),
    )
    return model_id


def row(
    window: Window, *, error: str | None = None, counts: dict[int, int] | None = None
) -> tiles.TileRow:
    west = window.col_off_px / 1024
    footprint = shapely.MultiPolygon([shapely.box(west, 0, west + 0.5, 0.5)])
    result = TileResult(
        window=window,
        state=TileState.FAILED if error else TileState.COMPLETED,
        class_counts={} if error else counts or {3: 60, 1: 4},
        confidence=None if error else 0.9,
        valid_fraction=0.0 if error else 1.0,
        error=error,
    )
    mercator = shapely.transform(footprint, lambda xy: xy * 111_319.49)
    digest = tile_digest("scene", "model", window, "local")
    return tiles.TileRow(digest, result, footprint, mercator, 3077.0, gsd_mismatch=False)


def commit(database: Database, lease: queue.Lease, *rows: tiles.TileRow) -> tiles.Progress:
    with database.transaction() as connection:
        return tiles.commit(connection, lease, rows)


def test_counts_and_events_are_committed_with_the_tiles(database: Database) -> None:
    lease = work(database).lease
    commit(database, lease, row(LEFT))
    progress = commit(database, lease, row(RIGHT, error="block cannot be read"))
    assert progress == tiles.Progress(2, reused=0, completed=1, failed=1, skipped=0)
    events = database.fetch_all(
        "select type, payload from constellation.events where type like 'tile.%' order by id"
    )
    assert [event["type"] for event in events] == ["tile.completed", "tile.failed"]
    assert events[0]["payload"]["top_class"] == 3
    assert events[0]["payload"]["bbox"] == [0, 0, 0.5, 0.5]
    assert events[1]["payload"]["error"] == "block cannot be read"
    assert events[1]["payload"]["tiles_done"] == 2


def test_the_same_tile_twice_is_one_row(database: Database) -> None:
    lease = work(database).lease
    commit(database, lease, row(LEFT), row(RIGHT))
    assert commit(database, lease, row(LEFT), row(RIGHT)).completed == 2
    with database.transaction() as connection:
        written = tiles.of_run(connection, lease.run_id)
    assert [tile["col_off_px"] for tile in written] == [0, 512]


def test_a_writer_without_its_lease_changes_nothing(database: Database) -> None:
    lease = work(database).lease
    stale = queue.Lease(lease.run_id, lease.fence - 1)
    with pytest.raises(LeaseLost):
        commit(database, stale, row(LEFT))
    counts = database.fetch_one("select count(*) as tiles from constellation.tiles")
    assert counts == {"tiles": 0}


def test_a_failed_tile_is_replaced_by_a_good_one_but_not_the_other_way(database: Database) -> None:
    lease = work(database).lease
    commit(database, lease, row(LEFT, error="unreadable"))
    assert commit(database, lease, row(LEFT)).completed == 1
    assert commit(database, lease, row(LEFT, error="unreadable")) == tiles.Progress(2, 0, 1, 0, 0)


def skipped(window: Window, cloud_fraction: float = 0.8) -> tiles.TileRow:
    plain = row(window)
    result = TileResult(
        window, TileState.SKIPPED, valid_fraction=1.0, cloud_fraction=cloud_fraction
    )
    return replace(plain, result=result)


def test_a_skipped_tile_is_counted_and_told_and_is_no_coverage(database: Database) -> None:
    claimed_work = work(database)
    lease = claimed_work.lease
    progress = commit(database, lease, row(LEFT), skipped(RIGHT))
    assert progress == tiles.Progress(2, reused=0, completed=1, failed=0, skipped=1)
    assert progress.done == 2
    event = database.fetch_one(
        "select payload from constellation.events where type = 'tile.skipped'"
    )
    assert event is not None
    assert event["payload"]["cloud_fraction"] == 0.8
    assert event["payload"]["tiles_done"] == 2
    args = {"model_id": claimed_work.model_id, "scene_id": claimed_work.scene_id}
    with database.transaction() as connection:
        assert coverage.of_scene(connection, **args)["tiles"] == 1
        (covered,) = coverage.covered(connection)
    assert covered.tiles == 1


def test_a_skipped_tile_is_a_result_to_build_on(database: Database) -> None:
    lease = work(database).lease
    commit(database, lease, skipped(LEFT))
    assert commit(database, lease, row(LEFT, error="unreadable")).skipped == 1
    digest = row(LEFT).digest
    with database.transaction() as connection:
        assert tiles.valid(connection, [digest], lease.run_id) == {digest: lease.run_id}
        assert tiles.valid(connection, [digest]) == {}, "its run may yet fail"
    database.execute("update constellation.runs set state = 'COMPLETED'")
    with database.transaction() as connection:
        assert tiles.valid(connection, [digest]) == {digest: lease.run_id}


def test_a_regression_keeps_its_figures(database: Database) -> None:
    lease = work(database).lease
    figures = {"min": -1.5, "max": 3.0, "mean": 0.25, "std": 0.5}
    plain = row(LEFT, counts={})
    kept = replace(plain, result=replace(plain.result, statistics=figures, class_counts={}))
    empty = row(RIGHT)
    empty = replace(empty, result=replace(empty.result, statistics={}, class_counts={}))
    commit(database, lease, kept, empty)
    with database.transaction() as connection:
        written = tiles.of_run(connection, lease.run_id)
    assert [tile["statistics"] for tile in written] == [figures, None]
    assert written[0]["top_class"] is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), None, "1", True])
@pytest.mark.parametrize("figure", ["min", "max", "mean", "std"])
def test_a_figure_that_is_no_number_never_reaches_the_table(
    database: Database, figure: str, bad: Any
) -> None:
    lease = work(database).lease
    figures = {"min": 0.0, "max": 1.0, "mean": 0.5, "std": 0.1, figure: bad}
    plain = row(LEFT)
    with pytest.raises((psycopg.DataError, psycopg.IntegrityError)):
        commit(database, lease, replace(plain, result=replace(plain.result, statistics=figures)))
    assert database.fetch_one("select count(*) as n from constellation.tiles") == {"n": 0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_share_of_clouds_is_a_share(database: Database, bad: float) -> None:
    with pytest.raises(psycopg.IntegrityError):
        commit(database, work(database).lease, skipped(LEFT, cloud_fraction=bad))


def test_a_number_that_is_none_never_reaches_the_table(database: Database) -> None:
    lease = work(database).lease
    bad = row(LEFT)
    with pytest.raises(Exception, match="check constraint"):
        commit(
            database,
            lease,
            tiles.TileRow(
                bad.digest,
                bad.result,
                bad.footprint,
                bad.mercator,
                float("nan"),
                gsd_mismatch=False,
            ),
        )


def test_valid_tiles_name_the_run_that_wrote_them(database: Database) -> None:
    lease = work(database).lease
    good, failed = row(LEFT), row(RIGHT, error="unreadable")
    commit(database, lease, good, failed)
    with database.transaction() as connection:
        digests = [good.digest, failed.digest]
        own = tiles.valid(connection, digests, lease.run_id)
        assert own == {good.digest: lease.run_id}
        assert tiles.valid(connection, digests) == {}, "the run may yet be cancelled"
        connection.execute("update constellation.runs set state = 'COMPLETED'")
        assert tiles.valid(connection, digests) == own


def test_coverage_of_a_scene_counts_each_valid_tile_once(database: Database) -> None:
    done = work(database)
    for _ in range(2):
        commit(database, done.lease, row(LEFT), row(RIGHT, error="unreadable"))
    with database.transaction() as connection:
        summary = coverage.of_scene(connection, model_id=done.model_id, scene_id=done.scene_id)
    assert summary["tiles"] == 1
    assert summary["area_km2"] == pytest.approx(3077)
