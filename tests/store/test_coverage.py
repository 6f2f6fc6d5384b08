"""The map's cells tell what a recount would, at once and whatever happens to tiles."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import UUID

import pytest
import shapely
from shapely.affinity import translate

from constellation_pipelines.dispatcher.surveyor import settle_all, surveying
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.geo.footprint import to_mercator
from constellation_pipelines.store import coverage, tiles
from constellation_pipelines.store.database import Connection, Database
from constellation_pipelines.store.tenancy import EVERYONE, NOBODY, Tenancy
from tests.store.test_tiles import LEFT, RIGHT, commit, new_model, new_scene, row, work

ACCOUNTS = ("ann", "ben", "cid")

# What the cells and what is yet to be added to them say, of all zooms.
CELLS = """
select model_id, account, z, x, y, square, top_class, sum(tiles)::int as tiles,
       sum(area_m2)::bigint as area_m2
  from (select model_id, account, z, x, y, square, top_class, tiles, area_m2
          from constellation.coverage_cells
         union all
        select model_id, account, 7 - up, x >> up, y >> up,
               constellation.square_above(x, y, square, up), top_class, tiles, area_m2
          from constellation.coverage_changes, generate_series(0, 7) up) known
 group by 1, 2, 3, 4, 5, 6, 7 having sum(tiles) <> 0 or sum(area_m2) <> 0
 order by 1, 2, 3, 4, 5, 6, 7
"""

# Tiles around one of some places: on the equator's land, near 180 degrees, across it, off the map.
INSERT = """
insert into constellation.tiles as t
       (id, digest, scene_id, model_id, run_id, job_id, account, row_off_px, col_off_px, height_px,
        width_px, state, footprint, geom_3857, area_km2, class_counts, top_class, confidence,
        valid_fraction, read_ms, infer_ms, error)
select gen_random_uuid(), %(model)s::text || d.n, r.scene_id, %(model)s, r.id, r.job_id, r.account,
       0, 0, 1, 1, d.state, 'MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))',
       case d.n %% 7 when 0 then 'SRID=3857;MULTIPOLYGON EMPTY'::geometry
                     when 1 then st_collect(
                       st_makeenvelope(20037000, 0, 20037508, 900, 3857),
                       st_makeenvelope(-20037508, 0, -20037000, 900, 3857))
                     else st_multi(st_makeenvelope(d.n * 900, d.n * 500,
                                                   d.n * 900 + 800, d.n * 500 + 800, 3857)) end,
       d.km2, '{}', d.top_class, 0.5, d.valid, 1, 1, case d.state when 'FAILED' then 'broken' end
  from constellation.runs r,
       unnest(%(digests)s::int[], %(states)s::text[], %(km2s)s::float8[], %(classes)s::smallint[],
              %(valids)s::float8[]) d (n, state, km2, top_class, valid)
 where r.id = %(run)s
on conflict (digest) do update
   set run_id = excluded.run_id, job_id = excluded.job_id, account = excluded.account,
       state = excluded.state, top_class = excluded.top_class, area_km2 = excluded.area_km2,
       valid_fraction = excluded.valid_fraction, error = excluded.error,
       created_at = clock_timestamp()
"""

SOME = "id in (select id from constellation.tiles where hashtext(digest) %% 5 = %(part)s limit 40)"
CHANGES = (
    f"delete from constellation.tiles where {SOME}",
    f"update constellation.tiles set state = 'FAILED', error = 'x' where {SOME}",
    f"update constellation.tiles set top_class = 9, area_km2 = area_km2 * 1.1 where {SOME}",
    f"update constellation.tiles set confidence = 0.1 where {SOME}",
    f"""update constellation.tiles t set run_id = r.id, job_id = r.job_id, account = r.account
          from constellation.runs r where r.id = %(run)s and t.{SOME}""",
)


@dataclass(frozen=True)
class Land:
    """A database with two models, and a run of each account."""

    database: Database
    models: list[UUID]
    runs: list[UUID]


@pytest.fixture
def land(database: Database) -> Land:
    return land_of(database)


def land_of(database: Database) -> Land:
    """Two models, and a run of each account over the same scene."""
    scene, found = new_scene(database), []
    for account in ACCOUNTS:
        job, run = new_id(), new_id()
        database.execute(
            "insert into constellation.jobs (id, name, params, state, submitted_by)"
            " values (%s, 'x', '{}', 'RUNNING', %s)",
            (job, account),
        )
        database.execute(
            "insert into constellation.runs (id, job_id, scene_id, state)"
            " values (%s, %s, %s, 'RUNNING')",
            (run, job, scene),
        )
        found.append(run)
    return Land(database, [new_model(database), new_model(database)], found)


def some_tiles(random: Random, land: Land, digests: list[int]) -> dict[str, Any]:
    """Values of INSERT."""
    return {
        "model": random.choice(land.models),
        "run": random.choice(land.runs),
        "digests": digests,
        "states": [random.choice(["COMPLETED"] * 6 + ["FAILED", "SKIPPED"]) for _ in digests],
        "km2s": [random.uniform(0.001, 40) for _ in digests],
        "classes": [random.choice([0, 1, 2, None]) for _ in digests],
        "valids": [random.choice([0.0, 0.5, 1.0, 1.0]) for _ in digests],
    }


def told(connection: Connection) -> list[Any]:
    """The cells, and what each model covered for everybody, without bounds and times, which only
    grow.
    """
    covered = [(one.model, one.tiles, one.area_km2) for one in coverage.covered(connection)]
    return [*connection.execute(CELLS).fetchall(), *covered]


def recounted(connection: Connection) -> list[Any]:
    """The same, counted anew; the transaction is not to be committed."""
    connection.execute("select constellation.recount_coverage()")
    return told(connection)


@contextmanager
def undone(database: Database) -> Iterator[Connection]:
    """A transaction that leaves nothing."""
    with database.transaction() as connection, connection.transaction(force_rollback=True):
        yield connection


def check(database: Database) -> list[Any]:
    """Compare what is told with a recount; return it."""
    with undone(database) as connection:
        found = told(connection)
        assert found == recounted(connection)
    return found


# ---- what they count ----


def test_cells_count_each_valid_tile_once_at_every_zoom(database: Database) -> None:
    done = work(database)
    for _ in range(2):
        commit(database, done.lease, row(LEFT), row(RIGHT, error="unreadable"))
        cells = database.fetch_all(CELLS)
        assert [(cell["z"], cell["tiles"], cell["top_class"]) for cell in cells] == [
            (z, 1, 3) for z in range(8)
        ]
        settle_all(database, threading.Event())


def test_a_square_is_where_its_tile_is(database: Database) -> None:
    """A tile of 1 to 1.5 degrees east and north: its middle lies at 1.25, 1.25."""
    done = work(database)
    moved = translate(row(LEFT).footprint, 1, 1)
    commit(database, done.lease, replace(row(LEFT), footprint=moved, mercator=to_mercator(moved)))
    for cell in database.fetch_all(CELLS):
        squares = 64 << cell["z"]
        column = cell["x"] * 64 + cell["square"] % 64
        line = cell["y"] * 64 + cell["square"] // 64
        assert column == int((180 + 1.25) / 360 * squares)
        assert line == int((180 - 1.25) / 360 * squares), "near the equator, in degrees too"


def test_a_tile_across_180_is_counted_where_it_lies(database: Database) -> None:
    done = work(database)
    box = shapely.MultiPolygon([shapely.box(179.5, 0, 180, 0.5), shapely.box(-180, 0, -179.5, 0.5)])
    commit(database, done.lease, replace(row(LEFT), footprint=box, mercator=to_mercator(box)))
    (cell,) = (cell for cell in database.fetch_all(CELLS) if cell["z"] == 7)
    column = cell["x"] * 64 + cell["square"] % 64
    assert column < 12 or column >= 8180, "0.5 degrees are 11.4 of 8192 squares"


def test_a_tile_beyond_the_map_is_in_no_cell(database: Database) -> None:
    done = work(database)
    north = translate(row(LEFT).footprint, 0, 88)
    commit(database, done.lease, replace(row(LEFT), footprint=north, mercator=to_mercator(north)))
    assert database.fetch_all(CELLS) == []


# ---- whatever happens ----


@pytest.mark.parametrize("seed", range(3))
def test_a_recount_finds_the_same_after_any_history(land: Land, seed: int) -> None:
    random = Random(seed)
    for _ in range(60):
        digests = random.sample(range(400), random.choice([1, 5, 40]))
        with land.database.transaction() as connection:
            if random.random() < 0.6:
                connection.execute(INSERT, some_tiles(random, land, digests))
            else:
                args = {"part": random.randrange(5), "run": random.choice(land.runs)}
                connection.execute(random.choice(CHANGES), args)
        if random.random() < 0.3:
            with land.database.transaction() as connection:
                coverage.settle(connection, random.choice([1, 7, 1000]))
    assert len(check(land.database)) > 100
    settle_all(land.database, threading.Event())
    assert len(check(land.database)) > 100
    land.database.execute("delete from constellation.tiles")
    assert check(land.database) == []


def test_writers_at_once_neither_wait_for_each_other_nor_lose_a_count(land: Land) -> None:
    """All write to the same squares, the cells being settled meanwhile by two."""
    stop = threading.Event()

    def write(number: int) -> None:
        random = Random(number)
        for _ in range(25):
            digests = random.sample(range(number * 100, number * 100 + 100), 20)
            args = {"part": random.randrange(5), "run": random.choice(land.runs)}
            with land.database.transaction() as connection:
                connection.execute(INSERT, some_tiles(random, land, sorted(digests)))
            change = random.choice(CHANGES).replace("limit 40", "order by id limit 5 for update")
            with land.database.transaction() as connection:
                connection.execute(change, args)

    def settle() -> None:
        while not stop.wait(0.01):
            settle_all(land.database, stop, batch=50)

    with ThreadPoolExecutor(6) as pool:
        settling = [pool.submit(settle) for _ in range(2)]
        writing = [pool.submit(write, number) for number in range(4)]
        try:
            for one in writing:
                one.result(120)
        finally:
            stop.set()
        for one in settling:
            one.result(60)
    assert len(check(land.database)) > 100


def test_a_writer_is_not_held_up_by_another_ones_commit(land: Land) -> None:
    """Neither by one that has written to the same square, nor by one that settles."""
    random = Random(0)
    with land.database.transaction() as first, land.database.transaction() as second:
        first.execute(INSERT, some_tiles(random, land, [2]))
        coverage.settle(second, 10)
        with land.database.transaction() as third:
            third.execute("set local statement_timeout = '30s'")
            third.execute(INSERT, some_tiles(random, land, [3]))
            assert coverage.settle(third, 10) == 0, "one at a time"
    check(land.database)


def test_tiles_that_are_truncated_away_are_on_no_map(land: Land) -> None:
    land.database.execute(INSERT, some_tiles(Random(1), land, [*range(50)]))
    land.database.execute("truncate constellation.tiles cascade")
    assert check(land.database) == []


# ---- when, and for whom ----


def test_tiles_are_on_the_map_as_they_commit_and_settling_changes_nothing(land: Land) -> None:
    land.database.execute(INSERT, some_tiles(Random(2), land, [*range(60)]))
    with land.database.transaction() as connection:
        before = told(connection)
        changes = [coverage.changes(connection, model) for model in land.models]
        assert coverage.settle(connection, 10_000) == sum(changes) > 0
        assert told(connection) == before
        assert [coverage.changes(connection, model) for model in land.models] == changes
        assert coverage.settle(connection, 10_000) == 0


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_a_map_shows_of_a_tile_counts_as_a_change(land: Land, change: str) -> None:
    model = land.models[0]
    args = some_tiles(Random(3), land, [*range(40)]) | {"model": model}
    land.database.execute(INSERT, args | {"valids": [1.0] * 40, "states": ["COMPLETED"] * 40})
    with undone(land.database) as connection:
        before = coverage.changes(connection, model)
        connection.execute(change, {"part": 1, "run": land.runs[0]})
        connection.execute(change, {"part": -1, "run": land.runs[0]})
        assert coverage.changes(connection, model) > before
        connection.execute("select constellation.recount_coverage()")
        assert coverage.changes(connection, model) > 0


def test_an_account_sees_cells_changes_and_totals_of_its_own_only(land: Land) -> None:
    for number, run in enumerate(land.runs):
        args = some_tiles(Random(4), land, [*range(number * 50, number * 50 + 50)])
        land.database.execute(INSERT, args | {"run": run})
        if not number:
            settle_all(land.database, threading.Event())
    every = land.database.bound(EVERYONE).fetch_all(CELLS)
    assert every == land.database.fetch_all(CELLS)
    for account in ACCOUNTS:
        own = land.database.bound(Tenancy(account)).fetch_all(CELLS)
        assert own == [cell for cell in every if cell["account"] == account] != []
        with land.database.bound(Tenancy(account)).transaction() as connection:
            tiles_of = sum(one.tiles for one in coverage.covered(connection))
        assert tiles_of == sum(cell["tiles"] for cell in own if cell["z"] == 0)
    assert land.database.bound(NOBODY).fetch_all(CELLS) == []


def test_bounds_hold_what_was_covered(database: Database) -> None:
    done = work(database)
    commit(database, done.lease, row(LEFT))
    settle_all(database, threading.Event())
    commit(database, done.lease, row(RIGHT))
    with database.transaction() as connection:
        (found,) = coverage.covered(connection, done.model_id)
        (row_of,) = tiles.of_run(connection, done.lease.run_id)[1:]
    assert found.bounds == pytest.approx([0, 0, 1, 0.5], abs=0.01)
    assert found.computed_at == row_of["created_at"]


def test_the_dispatcher_settles_by_itself(land: Land) -> None:
    land.database.execute(INSERT, some_tiles(Random(5), land, [*range(60)]))
    left = "select count(*)::int as n from constellation.coverage_changes"
    assert land.database.fetch_one(left) != {"n": 0}
    deadline = time.monotonic() + 60
    with surveying(land.database):
        while land.database.fetch_one(left) != {"n": 0}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    check(land.database)
