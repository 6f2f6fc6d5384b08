"""Scenes are registered once per file and found by id or key."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import shapely

from constellation_pipelines.domain.errors import Conflict, InvalidInput, NotFound
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.scene import Band, Grid, Scene
from constellation_pipelines.geo.footprint import area_km2, grid_footprint
from constellation_pipelines.imagery.describe import describe_scene, json_of
from constellation_pipelines.store import scenes
from constellation_pipelines.store.database import Connection, Database


def scene(key: str = "a", digest: str | None = None, grid: Grid | None = None) -> Scene:
    grid = grid or Grid("EPSG:32633", (10, 0, 5e5, 0, -10, 5e6), 512, 512, 256, 256)
    footprint = grid_footprint(grid)
    return Scene(
        id=new_id(),
        key=key,
        uri=f"/scenes/{key}.tif",
        digest=digest or f"digest of {key}",
        grid=grid,
        bands=(Band(1, "B04", "red", "uint16", 1e-4, -0.1), Band(2, "x", None, "uint16")),
        nodata=0.0,
        gsd_m=10.0,
        footprint=json_of(footprint),
        area_km2=area_km2(footprint),
        item={"type": "Feature", "id": key},
    )


def add(database: Database, one: Scene) -> Scene:
    with database.transaction() as connection:
        return scenes.add(connection, one)


def find(database: Database, reference: str) -> Scene:
    with database.transaction() as connection:
        return scenes.find(connection, reference)


def test_a_scene_comes_back_as_it_was_registered(database: Database) -> None:
    one = scene()
    stored = add(database, one)
    assert stored.created_at is not None
    assert replace(stored, created_at=None) == one
    assert find(database, "a") == stored
    assert find(database, str(one.id)) == stored
    with database.transaction() as connection:
        assert scenes.get(connection, one.id) == stored


def test_the_quality_mask_of_a_scene_is_kept_and_replaced(database: Database) -> None:
    mask = QualityMask(QualityKind.QA_PIXEL, "/scenes/a_qa.tif", 2)
    assert add(database, replace(scene(), quality=mask)).quality == mask
    assert find(database, "a").quality == mask
    assert add(database, scene(digest="without")).quality is None
    assert find(database, "a").quality is None


def test_the_sample_scenes_come_back_as_they_were_described(
    database: Database, sample_data: Path
) -> None:
    paths = [p for p in (sample_data / "scenes").iterdir() if p.suffix != ".json"]
    for path in [*paths, sample_data / "odd" / "dateline_32660.tif"]:
        one = describe_scene(path)
        stored = add(database, one)
        assert replace(stored, created_at=None, footprint=one.footprint) == one
        # PostGIS writes 15 decimals, which is a little less than a float holds near the equator.
        before, after = map(shapely.geometry.shape, (one.footprint, stored.footprint))
        assert after.equals_exact(before, 1e-13)


def test_the_footprint_is_a_geography_of_the_same_area(database: Database) -> None:
    for index, grid in enumerate(
        (
            Grid("EPSG:32660", (100, 0, 650_000, 0, -100, 5_800_000), 1024, 1024, 512, 512),
            Grid("EPSG:3031", (1000, 0, -512_000, 0, -1000, 512_000), 1024, 1024, 512, 512),
            Grid("EPSG:4326", (1e-3, 0, 179.5, 0, -1e-3, 10.0), 1024, 1024, 512, 512),
        )
    ):
        one = add(database, scene(f"s{index}", grid=grid))
        row = database.fetch_one(
            "select st_area(footprint) / 1e6 as km2, st_srid(footprint::geometry) as srid,"
            " st_isvalid(footprint::geometry) as valid from constellation.scenes where id = %s",
            (one.id,),
        )
        assert row is not None
        assert row["km2"] == pytest.approx(one.area_km2, rel=1e-3)
        assert (row["srid"], row["valid"]) == (4326, True)


def test_a_scene_across_180_is_found_from_both_sides(database: Database) -> None:
    grid = Grid("EPSG:4326", (1e-3, 0, 179.5, 0, -1e-3, 10.0), 1024, 1024, 512, 512)
    add(database, scene(grid=grid))
    sql = (
        "select count(*) as n from constellation.scenes"
        " where st_intersects(footprint, st_point(%s, 9.5)::geography)"
    )
    counts = [database.fetch_one(sql, (lon,)) for lon in (179.9, -179.9, 0.0, 179.0)]
    assert [row and row["n"] for row in counts] == [1, 1, 0, 0]


def test_nodata_may_be_nan(database: Database) -> None:
    stored = add(database, replace(scene(), nodata=float("nan")))
    assert stored.nodata is not None
    assert math.isnan(stored.nodata)


def test_the_same_file_is_registered_once_whatever_its_key(database: Database) -> None:
    first = add(database, scene("a", digest="d"))
    assert add(database, scene("a", digest="d")) == first
    assert add(database, scene("b", digest="d")) == first
    assert database.fetch_all("select key from constellation.scenes") == [{"key": "a"}]


def test_a_key_of_another_file_is_a_conflict(database: Database) -> None:
    first = add(database, scene("a", digest="d"))
    with pytest.raises(Conflict, match="--key"):
        add(database, elsewhere(scene("a", digest="e")))
    assert find(database, "a") == first


def test_a_scene_without_runs_is_described_anew(database: Database) -> None:
    first = add(database, scene("a", digest="d"))
    database.execute("update constellation.scenes set partitioned_at = now()")
    bands = (Band(1, "B04", "red", "uint16", 1.0, 0.0), Band(2, "B08", "nir", "uint16", 1.0, 0.0))
    now = replace(scene("a", digest="e"), bands=bands, nodata=None, gsd_m=9.0)
    stored = add(database, now)
    assert stored == replace(now, id=first.id, created_at=first.created_at)
    assert find(database, "a") == stored
    told = database.fetch_one("select partitioned_at from constellation.scenes")
    assert told == {"partitioned_at": None}, "Dagster must hear of the new description"


def test_a_scene_with_runs_is_described_anew_under_a_new_key_only(database: Database) -> None:
    first = add(database, scene("a", digest="d"))
    use(database, first)
    with pytest.raises(Conflict, match="--key"):
        add(database, scene("a", digest="e"))
    assert find(database, "a") == first
    second = add(database, replace(scene("b", digest="e"), uri=first.uri))
    assert (find(database, "a"), find(database, "b")) == (first, second)


def test_a_file_that_has_moved_is_found_in_its_new_place(database: Database) -> None:
    first = add(database, scene("a", digest="d"))
    use(database, first)
    database.execute("update constellation.scenes set partitioned_at = now()")
    moved = add(database, elsewhere(scene("a", digest="d")))
    assert moved == elsewhere(first)
    told = database.fetch_one("select count(partitioned_at) as n from constellation.scenes")
    assert told == {"n": 1}, "it is the same scene to Dagster"


def test_a_job_that_is_just_being_submitted_keeps_its_scene_as_it_is(database: Database) -> None:
    first = add(database, scene("a", digest="d"))
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            insert_run(connection, first)
            late = pool.submit(add, database, scene("a", digest="e"))
            with pytest.raises(TimeoutError):
                late.result(0.5)
        with pytest.raises(Conflict):
            late.result(10)
    assert find(database, "a") == first


def test_some_scenes_are_found_in_the_order_asked_for(database: Database) -> None:
    first, second = add(database, scene("a")), add(database, scene("b"))
    references = ["b", str(first.id), "nothing", "b", str(new_id()), "\0", "\ud800", "", "a"]
    with database.transaction() as connection:
        found = scenes.find_some(connection, references)
        assert scenes.find_some(connection, []) == []
    assert found == [second, first, None, second, None, None, None, None, first]


def elsewhere(one: Scene) -> Scene:
    return replace(one, uri=f"/elsewhere/{one.key}.tif")


def use(database: Database, one: Scene) -> None:
    with database.transaction() as connection:
        insert_run(connection, one)


def insert_run(connection: Connection, one: Scene) -> None:
    job_id = new_id()
    connection.execute(
        "insert into constellation.jobs (id, name, params, state, origin, submitted_by)"
        " values (%s, 'j', '{}', 'COMPLETED', 'api', 'ann')",
        (job_id,),
    )
    connection.execute(
        "insert into constellation.runs (id, job_id, scene_id, state)"
        " values (%s, %s, %s, 'COMPLETED')",
        (new_id(), job_id, one.id),
    )


def test_a_conflict_leaves_the_transaction_usable(database: Database) -> None:
    add(database, scene("a", digest="d"))
    with database.transaction() as connection:
        with pytest.raises(Conflict):
            scenes.add(connection, elsewhere(scene("a", digest="e")))
        scenes.add(connection, scene("b", digest="e"))
    assert find(database, "b").digest == "e"


def test_one_file_registered_twice_at_once_is_one_scene(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda n: add(database, scene(f"k{n}", digest="d")).id, range(16)))
    assert len(set(stored)) == 1


@pytest.mark.parametrize(
    "reference",
    [
        "nothing",
        "",
        "a\0b",
        "\ud800",
        "x" * 100_000,
        "' or true --",
        "0198c0de-0000-7000-8000-000000000000",
        "{a}",
        "../a",
    ],
)
def test_an_unknown_reference_is_not_found(database: Database, reference: str) -> None:
    add(database, scene())
    with pytest.raises(NotFound) as caught:
        find(database, reference)
    assert caught.value.field == "scene"
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_an_unknown_id_is_not_found(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(NotFound):
        scenes.get(connection, UUID(int=5))


def test_pages_run_through_all_scenes_by_key(database: Database) -> None:
    keys = ["b", "a", "d", "c", "e"]
    for key in keys:
        add(database, scene(key))
    seen: list[str] = []
    after = None
    with database.transaction() as connection:
        while page := scenes.list_page(connection, 2, after):
            assert len(page) <= 2
            seen += [one.key for one in page]
            after = seen[-1]
    assert seen == sorted(keys)


@pytest.mark.parametrize(("limit", "after"), [(0, None), (-1, None), (10**9, None), (5, "a\0")])
def test_an_unbounded_page_or_a_forged_cursor_is_refused(
    database: Database, limit: int, after: str | None
) -> None:
    with database.transaction() as connection, pytest.raises(InvalidInput):
        scenes.list_page(connection, limit, after)


def test_the_stored_footprint_keeps_its_digits(database: Database) -> None:
    one = scene()
    stored = shapely.geometry.shape(add(database, one).footprint)
    assert stored.equals_exact(shapely.geometry.shape(one.footprint), 1e-13)
