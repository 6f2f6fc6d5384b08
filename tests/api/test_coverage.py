"""The coverage map over HTTP: each account's own tiles, of bounded size, wherever one looks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pyogrio  # type: ignore[import-untyped]
import pytest
import shapely

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.store.map_tiles import MOST_BYTES, MOST_TILES
from tests.api.people import client, make_key
from tests.api.results import completed
from tests.api.service import MODEL, Service, save_model, serving
from tests.api.test_jobs import problem_of
from tests.conftest import PostgresServer, scratch_database

HALF_M = math.pi * 6_378_137
WORLD = [-180, -85.051129, 180, 85.051129]
VECTOR_TILE = "application/vnd.mapbox-vector-tile"

# Squares of `side` metres in EPSG:3857 from a corner, `columns` of them in a row.
TILES = """
insert into constellation.tiles
       (id, digest, scene_id, model_id, run_id, job_id, row_off_px, col_off_px, height_px, width_px,
        state, footprint, geom_3857, area_km2, class_counts, top_class, confidence, valid_fraction,
        read_ms, infer_ms, error)
select gen_random_uuid(), gen_random_uuid(), scene_id, model_id, r.id, job_id,
       n / %(columns)s * 512, n %% %(columns)s * 512, 512, 512, %(state)s,
       st_multi(st_transform(square, 4326))::geography, st_multi(square), 2.5, '{}',
       n %% 2, 0.7512345, %(valid)s, 1, 1, case when %(state)s = 'FAILED' then 'broken' end
  from constellation.runs r, generate_series(0, %(tiles)s - 1) n,
       lateral st_makeenvelope(%(west)s + n %% %(columns)s * %(side)s,
                               %(north)s - (n / %(columns)s + 1) * %(side)s,
                               %(west)s + (n %% %(columns)s + 1) * %(side)s,
                               %(north)s - n / %(columns)s * %(side)s, 3857) square
 where r.id = %(run)s
"""


@dataclass(frozen=True)
class Town:
    """A server and three accounts: Ann's tiles lie near 15 E 45 N, Ben's four at 0 E 0 N."""

    service: Service
    ann: httpx.Client
    ben: httpx.Client
    admin: httpx.Client
    run: UUID  # Ann's


ANN: dict[str, Any] = {"west": 1_669_800.0, "north": 5_621_500.0, "side": 5_000.0}
ANNS = 6


@pytest.fixture(scope="module")
def town(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("coverage")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder, auth="required") as service,
    ):
        save_model(service.database)
        save_model(service.database, "unused")
        scopes = {"ann": Scope.VIEWER, "ben": Scope.VIEWER, "keeper": Scope.ADMIN}
        keys = {who: make_key(service.database, who, scope) for who, scope in scopes.items()}
        run = cover(service, "ann", tiles=ANNS, columns=3, **ANN)
        more(service, run, tiles=1, state="FAILED", **ANN)
        more(service, run, tiles=1, valid=0, west=ANN["west"] + 1e6, north=0.0, side=5_000.0)
        cover(service, "ben", tiles=4, columns=2, west=0.0, north=0.0, side=5_000.0)
        with (
            client(service, keys["ann"].text) as ann,
            client(service, keys["ben"].text) as ben,
            client(service, keys["keeper"].text) as admin,
        ):
            yield Town(service, ann, ben, admin, run)


def cover(service: Service, account: str, *, scene: str = "coast", **how: Any) -> UUID:
    """A completed run with these tiles."""
    lake = service.scenes.parent / "lake"
    run = completed(service.database, lake, account, [], scene=scene)[1]
    more(service, run, **how)
    return run


def more(service: Service, run: UUID, **how: Any) -> None:
    """More tiles of a run."""
    args = {"run": run, "columns": 1, "state": "COMPLETED", "valid": 1} | how
    service.database.execute(TILES, args)


def numbers(z: int, east_m: float, north_m: float) -> tuple[int, int, int]:
    """The map tile of a zoom that holds a place in EPSG:3857."""
    size = 2 * HALF_M / 2**z
    return z, int((east_m + HALF_M) // size), int((HALF_M - north_m) // size)


def fetch(http: httpx.Client, z: int, x: int, y: int) -> bytes:
    reply = http.get(f"/coverage/{MODEL}/{z}/{x}/{y}")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == VECTOR_TILE
    assert reply.headers["cache-control"] == "private, max-age=30"
    assert len(reply.content) <= MOST_BYTES
    return reply.content


def drawn(folder: Path, http: httpx.Client, z: int, x: int, y: int) -> list[dict[str, Any]]:
    """The features of a map tile as GDAL reads them, their shapes in EPSG:3857."""
    path = folder / str(z) / str(x) / f"{y}.mvt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fetch(http, z, x, y))
    if not path.stat().st_size:
        return []
    # "CLIP=NO" keeps what a tile has around its edges.
    meta, _, shapes, columns = pyogrio.raw.read(path, layer="tiles", X=x, Y=y, Z=z, CLIP="NO")
    rows = zip(*columns, strict=True)
    return [
        dict(zip(meta["fields"], row, strict=True)) | {"shape": shapely.from_wkb(shape)}
        for row, shape in zip(rows, shapes, strict=True)
    ]


# ---- what is drawn ----


def test_a_tile_at_high_zoom_has_the_footprint_and_what_was_found(
    town: Town, tmp_path: Path
) -> None:
    middle = (ANN["west"] + 2_500, ANN["north"] - 2_500)
    z, x, y = numbers(14, *middle)
    (found,) = drawn(tmp_path, town.ann, z, x, y)
    assert (found["class"], found["name"], found["confidence"]) == (0, "water", 0.751)
    assert found["run_id"] == str(town.run)
    at = datetime.fromisoformat(found["computed_at"])
    assert datetime.now(UTC) - timedelta(hours=1) < at <= datetime.now(UTC)
    assert found["shape"].contains(shapely.Point(middle))


def test_footprints_lie_where_the_tiles_do(town: Town, tmp_path: Path) -> None:
    z, x, y = numbers(7, ANN["west"], ANN["north"])
    found = drawn(tmp_path, town.ann, z, x, y)
    assert len(found) == ANNS, "neither the failed one, nor the one without a valid pixel"
    assert {one["name"] for one in found} == {"water", "land"}
    pixel = 2 * HALF_M / 2**z / 4096
    bounds = shapely.union_all([one["shape"] for one in found]).bounds
    west, north = ANN["west"], ANN["north"]
    assert bounds == pytest.approx((west, north - 10_000, west + 15_000, north), abs=2 * pixel)


def test_where_nothing_is_covered_a_tile_is_empty(town: Town) -> None:
    assert fetch(town.ann, 10, 0, 0) == b""
    assert town.ann.get("/coverage/unused@1/0/0/0").content == b""


def test_too_many_tiles_are_counted_in_squares(
    service: Service, http: httpx.Client, tmp_path: Path
) -> None:
    columns, lines, side = 160, 120, 20_000.0
    cover(service, "local", tiles=columns * lines, columns=columns, west=0.0, north=0.0, side=side)
    found = drawn(tmp_path, http, 0, 0, 0)
    assert sum(one["tiles"] for one in found) == columns * lines > MOST_TILES
    assert sum(one["area_km2"] for one in found) == pytest.approx(2.5 * columns * lines, rel=0.01)
    assert {"confidence", "run_id"}.isdisjoint(found[0])
    assert {one["class"] for one in found} <= {0, 1}
    square = 2 * HALF_M / 64
    west, south, east, north = shapely.union_all([one["shape"] for one in found]).bounds
    assert (west, north) == pytest.approx((0, 0), abs=1)
    assert east == pytest.approx(columns * side, abs=square)
    assert south == pytest.approx(-lines * side, abs=square)
    below = drawn(tmp_path, http, 1, 1, 1)
    assert sum(one["tiles"] for one in below) == columns * lines, "the same, in smaller squares"
    assert len(below) > len(found)
    assert len(drawn(tmp_path, http, *numbers(8, 70_000, -70_000))) < MOST_TILES


def test_tiles_too_small_to_be_seen_one_by_one_are_counted_in_squares(
    town: Town, tmp_path: Path
) -> None:
    """At zoom 0 a pixel of the map tile is 10 km wide, a tile 5 km."""
    (found,) = drawn(tmp_path, town.ann, 0, 0, 0)
    assert (found["tiles"], found["name"]) == (ANNS, "water")


def test_a_full_tile_is_no_larger_than_it_may_be(
    service: Service, http: httpx.Client, tmp_path: Path
) -> None:
    west, north = HALF_M / 2, HALF_M / 2  # the corner of a map tile of zoom 2
    side = HALF_M / 2 / 128
    tiles = 128 * 128
    run = cover(service, "local", tiles=tiles, columns=128, west=west, north=north, side=side)
    service.database.execute(  # as many different numbers as can be
        "update constellation.tiles set area_km2 = row_off_px + col_off_px / 1e3 where run_id = %s",
        (run,),
    )
    assert len(drawn(tmp_path, http, 2, 3, 1)) == 64 * 64


def test_tiles_one_upon_the_other_are_the_newest_at_high_zoom(
    service: Service, http: httpx.Client, tmp_path: Path
) -> None:
    here: dict[str, Any] = {"west": -9e6, "north": 9e6, "side": 5_000.0}
    run = cover(service, "local", tiles=MOST_TILES + 10, **here)
    service.database.execute(
        "update constellation.tiles set geom_3857 = st_multi(st_makeenvelope("
        "-9e6, 9e6 - 5000, -9e6 + 5000, 9e6, 3857)) where run_id = %s",
        (run,),
    )
    at = (-9e6 + 4_000, 9e6 - 4_000)  # in its corner, far from the middle
    assert len(drawn(tmp_path, http, *numbers(18, *at))) == MOST_TILES


def test_a_full_tile_at_high_zoom_has_as_many_of_the_newest_as_there_is_room_for(
    service: Service, http: httpx.Client, tmp_path: Path
) -> None:
    """Stars of 400 corners, one upon the other: a thousand would have twice the bytes."""
    here: dict[str, Any] = {"west": 7e6, "north": 9e6, "side": 2_000.0}
    run = cover(service, "local", tiles=MOST_TILES, **here)
    corners = [
        (
            7e6 + 1_000 + r * math.cos(n * math.pi / 200),
            9e6 - 1_000 + r * math.sin(n * math.pi / 200),
        )
        for n in range(400)
        for r in [300 if n % 2 else 900]
    ]
    star = shapely.MultiPolygon([shapely.Polygon(corners)])
    service.database.execute(
        "update constellation.tiles set geom_3857 = st_setsrid(st_geomfromwkb(%s), 3857)"
        " where run_id = %s",
        (shapely.to_wkb(star), run),
    )
    z, x, y = numbers(14, 7e6 + 1_000, 9e6 - 1_000)
    found = drawn(tmp_path, http, z, x, y)
    assert 50 < len(found) < MOST_TILES
    newest = service.database.fetch_all(
        "select confidence from constellation.tiles where run_id = %s"
        " order by created_at desc, id desc limit %s",
        (run, len(found)),
    )
    assert len(newest) == len(found)
    assert len(fetch(http, z, x, y)) > MOST_BYTES / 4, "no fewer than it takes"


def test_a_tile_across_180_is_drawn_on_both_sides_and_nowhere_else(
    service: Service, http: httpx.Client, tmp_path: Path
) -> None:
    run = cover(service, "local", tiles=1, west=-6e6, north=-1e7, side=5_000.0)
    service.database.execute(
        "update constellation.tiles set geom_3857 = st_collect("
        "st_makeenvelope(%(edge)s - 5000, -1.2e7, %(edge)s, -1.2e7 + 5000, 3857),"
        "st_makeenvelope(-%(edge)s, -1.2e7, 5000 - %(edge)s, -1.2e7 + 5000, 3857))"
        " where run_id = %(run)s",
        {"run": run, "edge": HALF_M},
    )
    for z in (7, 10, 14):
        _, _, y = numbers(z, 0, -1.2e7 + 100)
        assert (
            len(drawn(tmp_path, http, z, 0, y)) == len(drawn(tmp_path, http, z, 2**z - 1, y)) == 1
        )
        assert fetch(http, z, 2 ** (z - 1) + 1, y) == b""


def test_a_map_tile_between_is_counted_in_fine_squares_or_in_those_of_the_cells(
    service: Service, http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At zoom 9 cells are a quarter of the squares along each side."""
    z, x, y = 9, 100, 100
    size = 2 * HALF_M / 2**z
    west, north = x * size - HALF_M, HALF_M - y * size
    cover(service, "local", tiles=2_500, columns=50, west=west, north=north, side=size / 64)
    fine = drawn(tmp_path, http, z, x, y)
    assert len(fine) == sum(one["tiles"] for one in fine) == 2_500
    monkeypatch.setattr("constellation_pipelines.store.map_tiles.MOST_TILES", 100)
    monkeypatch.setattr("constellation_pipelines.store.map_tiles.MOST_COUNTED", 500)
    coarse = drawn(tmp_path, http, z, x, y)
    assert sum(one["tiles"] for one in coarse) == 2_500
    assert len(coarse) == 13 * 13, "of 16 x 16 squares, the last ones half full"
    assert shapely.union_all([one["shape"] for one in coarse]).bounds == pytest.approx(
        (west, north - 13 * size / 16, west + 13 * size / 16, north), abs=1
    )
    # A quarter of it, one zoom in.
    east = drawn(tmp_path, http, z + 1, 2 * x + 1, 2 * y)
    assert sum(one["tiles"] for one in east) == (50 - 32) * 32


def test_what_takes_too_long_is_503(
    service: Service, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cover(service, "local", tiles=5_000, columns=100, west=-8e6, north=-8e6, side=10_000.0)
    hurry = "select set_config('statement_timeout', '1ms', true)"
    with monkeypatch.context() as patch:
        patch.setattr("constellation_pipelines.store.map_tiles.HURRY", hurry)
        assert "retry-after" in http.get(f"/coverage/{MODEL}/0/0/0").headers
        found = problem_of(http.get(f"/coverage/{MODEL}/0/0/0"), 503)
        assert "try again" in found["detail"]
    assert fetch(http, 0, 0, 0) != b""


# ---- what a browser has already ----


def test_a_map_tile_that_has_not_changed_is_not_sent_again(town: Town) -> None:
    place = f"/coverage/{MODEL}/3/0/0"
    first = town.ann.get(place)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = town.ann.get(place, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == first.headers["cache-control"]
    for other in ('"other"', "nonsense", tag.strip('"'), ""):
        assert town.ann.get(place, headers={"If-None-Match": other}).status_code == 200
    problem_of(town.ann.get(place, headers={"If-None-Match": "x" * 1001}), 422)


def test_any_new_tile_of_the_account_changes_the_tag_and_no_other(town: Town) -> None:
    place = f"/coverage/{MODEL}/3/0/0"
    tags = {who: getattr(town, who).get(place).headers["etag"] for who in ("ann", "ben", "admin")}
    assert len(set(tags.values())) == 3, "what one has is not what another one would get"
    more(town.service, town.run, tiles=1, west=-9e6, north=0.0, side=5_000.0)
    town.service.database.execute("select constellation.settle_coverage(1000)")
    for who, changed in (("ann", True), ("ben", False), ("admin", True)):
        headers = {"If-None-Match": tags[who]}
        status = 200 if changed else 304
        assert getattr(town, who).get(place, headers=headers).status_code == status
    town.service.database.execute("delete from constellation.tiles where st_xmin(geom_3857) = -9e6")
    town.service.database.execute("select constellation.recount_coverage()")
    headers = {"If-None-Match": tags["ann"]}
    assert town.ann.get(place, headers=headers).status_code == 200


# ---- what a map is told ----


def test_a_list_tells_what_each_model_covered(town: Town) -> None:
    (found,) = town.ann.get("/coverage").json()["items"]
    assert (found["model"], found["tiles"], found["area_km2"]) == (MODEL, ANNS, 2.5 * ANNS)
    assert found["bounds"] == pytest.approx([15.0, 44.936, 15.135, 45.0], abs=0.001)


def test_a_map_is_described_as_tilejson(town: Town) -> None:
    found = town.ann.get("/coverage/landcover").json()
    assert (found["tilejson"], found["name"]) == ("3.0.0", MODEL)
    assert found["tiles"] == [f"/api/v1/coverage/{MODEL}/{{z}}/{{x}}/{{y}}"]
    assert (found["minzoom"], found["maxzoom"]) == (0, 22)
    assert found["bounds"] == town.ann.get("/coverage").json()["items"][0]["bounds"]
    url = town.service.url + found["tiles"][0].format(z=0, x=0, y=0)
    assert town.ann.get(url).content == fetch(town.ann, 0, 0, 0) != b""
    assert town.ann.get("/coverage/unused").json()["bounds"] == WORLD


# ---- whose ----


def test_each_account_sees_its_own_and_an_admin_all(town: Town, tmp_path: Path) -> None:
    anns = numbers(7, ANN["west"], ANN["north"])
    bens = numbers(7, 100.0, -100.0)
    assert fetch(town.ben, *anns) == fetch(town.ann, *bens) == b""
    assert len(drawn(tmp_path, town.ben, *bens)) == 4
    assert len(drawn(tmp_path, town.admin, *anns)) == ANNS
    for http, tiles in ((town.ann, ANNS), (town.ben, 4), (town.admin, ANNS + 4)):
        assert http.get("/coverage").json()["items"][0]["tiles"] == tiles
    assert town.ben.get(f"/coverage/{MODEL}").json()["bounds"] == pytest.approx(
        [0, -0.09, 0.09, 0], abs=0.01
    )


def test_squares_count_the_tiles_of_who_asks(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("constellation_pipelines.store.map_tiles.MOST_TILES", 1)
    for http, tiles in ((town.ann, ANNS), (town.ben, 4), (town.admin, ANNS + 4)):
        assert sum(one["tiles"] for one in drawn(tmp_path, http, 0, 0, 0)) == tiles


# ---- what makes no sense ----


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ("-1/0/0", "z"),
        ("23/0/0", "z"),
        ("1e1/0/0", "z"),
        ("nan/0/0", "z"),
        ("99999999999999999999/0/0", "z"),
        ("0/1/0", "x"),
        ("0/0/1", "y"),
        ("3/8/0", "x"),
        ("3/7/8", "y"),
        ("3/-1/0", "x"),
        ("22/4194304/0", "x"),
        ("5/1.5/0", "x"),
        ("5/0/1;select 1", "y"),
        ("5/0/%00", "y"),
        ("5/0/0.mvt", "y"),
    ],
)
def test_hostile_places_are_refused_at_their_place(
    http: httpx.Client, place: str, field: str
) -> None:
    found = problem_of(http.get(f"/coverage/{MODEL}/{place}"), 422)
    assert found["errors"][0]["pointer"].strip("/") == field


def test_the_last_tile_of_the_deepest_zoom_is_there(http: httpx.Client) -> None:
    assert http.get(f"/coverage/{MODEL}/22/{2**22 - 1}/{2**22 - 1}").content == b""


@pytest.mark.parametrize("model", ["nobody@1", "landcover@2", "..%2F..%2Fetc", "' or 1=1 --"])
def test_an_unknown_model_is_404(http: httpx.Client, model: str) -> None:
    for path in ("", "/0/0/0"):
        problem_of(http.get(f"/coverage/{model}{path}"), 404)


@pytest.mark.parametrize("model", ["%00", "a" * 301, "%0A"])
def test_what_is_no_reference_is_refused(http: httpx.Client, model: str) -> None:
    for path in ("", "/0/0/0"):
        found = problem_of(http.get(f"/coverage/{model}{path}"), 422)
        assert found["errors"][0]["pointer"] == "model"
