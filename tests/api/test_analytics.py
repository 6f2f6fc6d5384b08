"""Analytics over HTTP: each account's own results, counted once, whatever is asked."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.ids import new_id
from tests.api.people import client, make_key
from tests.api.results import box, completed
from tests.api.service import MODEL, Service, save_model, serving
from tests.api.test_jobs import problem_of
from tests.conftest import PostgresServer, scratch_database
from tests.lake.results import START, Tile, any_tiles, recount, tile

BENS = 77


@dataclass(frozen=True)
class Town:
    """A server, and two accounts with results of the same model on the same scene."""

    service: Service
    ann: httpx.Client
    ben: httpx.Client
    admin: httpx.Client
    files: dict[str, list[list[Tile]]]  # Ann's, by scene
    job: UUID  # Ann's first
    bens_job: UUID


@pytest.fixture(scope="module")
def town(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("analytics")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder, auth="required") as service,
    ):
        save_model(service.database)
        scopes = {"ann": Scope.VIEWER, "ben": Scope.VIEWER, "keeper": Scope.ADMIN}
        keys = {who: make_key(service.database, who, scope) for who, scope in scopes.items()}
        random = Random("town")
        files: dict[str, list[list[Tile]]] = {"coast": [], "valley": []}
        made = []
        for scene in ("coast", "coast", "valley"):
            files[scene].append(any_tiles(random, random.sample(range(60), 40)))
            made.append(keep(service, "ann", files[scene][-1], scene=scene, reused=5))
        bens = keep(service, "ben", [tile(n, {1: 1}) for n in range(BENS)])
        keep(service, "ann", [tile(n, {1: 1}) for n in range(99)], state="CANCELLED")
        with (
            client(service, keys["ann"].text) as ann,
            client(service, keys["ben"].text) as ben,
            client(service, keys["keeper"].text) as admin,
        ):
            yield Town(service, ann, ben, admin, files, made[0], bens)


def keep(service: Service, account: str, tiles: list[Tile], **how: Any) -> UUID:
    return completed(service.database, service.scenes.parent / "lake", account, tiles, **how)[0]


def ask(http: httpx.Client, what: str = "classes", **query: Any) -> Any:
    query = {"from" if name == "first" else name: value for name, value in query.items()}
    reply = http.get(f"/analytics/{what}", params={"model": MODEL} | query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def told(found: Any) -> dict[tuple[date | None, int | None], Any]:
    """The rows of an answer, as a count by hand has them."""
    return {
        (date.fromisoformat(one["period"]) if "period" in one else None, one["value"]): (
            *(one["tiles"], one["count"]),
            *(near(one["area_km2"]), near(one["confidence"])),
        )
        for one in found["items"]
    }


def near(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, abs=2e-6)


def rows(counted: dict[tuple[date | None, int | None], Any]) -> Any:
    return {key: figures for key, figures in counted.items() if key[1] is not None}


# ---- figures ----


def test_classes_are_those_of_a_count_by_hand(town: Town) -> None:
    found = ask(town.ann)
    by_hand = recount(town.files)
    assert told(found) == rows(by_hand)
    assert (found["model"], found["unit"], found["runs"]) == (MODEL, "chip", 3)
    assert (found["missing"], found["missing_runs"], found["tiles_reused"]) == (0, [], 15)
    total = found["total"]
    assert (total["tiles"], total["count"]) == by_hand[None, None][:2]
    assert total["area_km2"] == near(sum(one["area_km2"] for one in found["items"]))
    assert sum(one["share"] for one in found["items"]) == near(1.0)
    areas = [one["area_km2"] for one in found["items"]]
    assert areas == sorted(areas, reverse=True)
    names = {one["value"]: one["name"] for one in found["items"]}
    assert names == {0: "water", 1: "land", 2: None, 200: None}


@pytest.mark.parametrize("by", ["day", "month"])
def test_a_series_is_that_of_a_count_by_hand(town: Town, by: str) -> None:
    found = ask(town.ann, "series", by=by)
    assert told(found) == rows(recount(town.files, by=by))
    periods = [one["period"] for one in found["items"]]
    assert periods == sorted(periods)
    assert found["total"]["tiles"] == ask(town.ann)["total"]["tiles"]


def test_a_name_stands_for_its_newest_version(town: Town) -> None:
    assert ask(town.ann, model="landcover")["model"] == MODEL
    assert told(ask(town.ann, model="landcover")) == rows(recount(town.files))


def test_both_days_are_included(town: Town) -> None:
    first, last = date(2026, 3, 10), date(2026, 4, 20)
    by_hand = recount(town.files, first=first, last=last)
    asked = {"first": first.isoformat(), "to": last.isoformat()}
    assert told(ask(town.ann, **asked)) == rows(by_hand)
    assert ask(town.ann, first="2027-01-01")["items"] == []


def test_a_scene_and_a_job_narrow_it(town: Town) -> None:
    valley = {"valley": town.files["valley"]}
    assert told(ask(town.ann, scene="valley")) == rows(recount(valley))
    first = {"coast": town.files["coast"][:1]}
    found = ask(town.ann, job=town.job)
    assert told(found) == rows(recount(first))
    assert (found["runs"], found["tiles_reused"]) == (1, 5)
    assert ask(town.ann, job=town.job, scene="valley")["runs"] == 0


def test_a_box_narrows_it_to_the_tiles_that_it_touches(town: Town) -> None:
    columns = range(10, 21)
    inside = {
        scene: [[one for one in tiles if one["col_off_px"] // 512 in columns] for tiles in listed]
        for scene, listed in town.files.items()
    }
    found = ask(town.ann, bbox="16.05,45.02,17.05,45.03")
    assert told(found) == rows(recount(inside))
    elsewhere = ask(town.ann, bbox="-60,10,-50,20")
    assert (elsewhere["runs"], elsewhere["items"]) == (0, []), "no file there is even opened"
    assert elsewhere["total"] == {"tiles": 0, "count": 0, "area_km2": 0.0, "confidence": None}


def test_csv_has_the_same_rows(town: Town) -> None:
    for what, first in (("classes", "value"), ("series", "period")):
        query = {"model": MODEL, "format": "csv"}
        reply = town.ann.get(f"/analytics/{what}", params=query)
        assert reply.headers["content-type"].startswith("text/csv")
        assert reply.headers["x-missing-runs"] == "0"
        found = list(csv.DictReader(io.StringIO(reply.text)))
        items = ask(town.ann, what)["items"]
        assert next(iter(found[0])) == first
        assert [float(row["area_km2"]) for row in found] == [near(one["area_km2"]) for one in items]
        assert {row["name"] for row in found} == {"water", "land", ""}


# ---- whose ----


def test_each_account_counts_its_own_and_an_admin_all(town: Town) -> None:
    assert ask(town.ben)["total"]["tiles"] == BENS
    assert ask(town.ben)["runs"] == 1
    assert ask(town.admin)["runs"] == 4
    assert ask(town.ben, scene="valley")["total"]["tiles"] == 0


@pytest.mark.parametrize("what", ["classes", "series"])
def test_the_job_of_another_is_not_there(town: Town, what: str) -> None:
    for job in (town.job, uuid4()):
        query = {"model": MODEL, "job": str(job)}
        found = problem_of(town.ben.get(f"/analytics/{what}", params=query), 404)
        assert found["code"] == "not_found"
    assert ask(town.ann, job=town.job)["runs"] == 1
    assert ask(town.admin, job=town.job)["runs"] == 1


# ---- what cannot be read ----


def test_missing_and_truncated_files_are_told(service: Service, http: httpx.Client) -> None:
    lake = service.scenes.parent / "lake"
    made = [
        completed(service.database, lake, "local", [tile(n, {1: 9})], scene="broken")
        for n in range(3)
    ]
    (_, gone, gone_path), (_, cut, cut_path), _ = made
    gone_path.unlink()
    cut_path.write_bytes(cut_path.read_bytes()[:-100])
    found = ask(http, scene="broken")
    assert (found["runs"], found["missing"]) == (1, 2)
    reasons = {one["run_id"]: one["reason"] for one in found["missing_runs"]}
    assert reasons == {str(gone): "missing", str(cut): "damaged"}
    assert found["total"]["count"] == 9
    query = {"model": MODEL, "scene": "broken", "format": "csv"}
    assert http.get("/analytics/classes", params=query).headers["x-missing-runs"] == "2"


def test_what_was_computed_last_counts_though_its_run_is_later_than_asked_for(
    service: Service, http: httpx.Client
) -> None:
    lake = service.scenes.parent / "lake"
    for days, value in ((0, 0), (40, 1)):
        tiles = [tile(0, {value: 9}, at=START + timedelta(days=days))]
        completed(service.database, lake, "local", tiles, scene="twice")
    assert [one["value"] for one in ask(http, scene="twice")["items"]] == [1]
    assert ask(http, scene="twice", to="2026-03-31")["items"] == []


def test_a_box_across_180_degrees_finds_scenes_on_both_sides(
    service: Service, http: httpx.Client
) -> None:
    lake = service.scenes.parent / "lake"
    for side, west in (("west", 179.5), ("east", -179.9)):
        tiles = [tile(0, {1: 9}, west=west)]
        place = box(west, 45, west + 0.1, 45.1)
        completed(service.database, lake, "local", tiles, scene=side, place=place)
    assert ask(http, bbox="179,44,-179,46")["total"]["tiles"] == 2
    assert ask(http, bbox="179,44,180,46")["total"]["tiles"] == 1
    assert ask(http, bbox="-180,44,-179,46")["total"]["tiles"] == 1


# ---- what makes no sense ----


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": "a" * 301}, "model"),
        ({"model": "\x00"}, "model"),
        ({"bbox": "nan,0,1,1"}, "bbox"),
        ({"bbox": "0,0,inf,1"}, "bbox"),
        ({"bbox": "0,2,1,1"}, "bbox"),
        ({"bbox": "0,0,1"}, "bbox"),
        ({"bbox": "-181,0,1,1"}, "bbox"),
        ({"bbox": "0,0,1,1);drop table seen;--"}, "bbox"),
        ({"bbox": "1," * 150}, "bbox"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "0"}, "from"),
        ({"to": "2026-01-01T00:00:00Z"}, "to"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "from"),
        ({"job": "1 or true"}, "job"),
        ({"scene": "\n"}, "scene"),
        ({"format": "parquet"}, "format"),
        ({"first": "2026-03-01"}, "first"),
        ({"path": "/etc/passwd"}, "path"),
    ],
)
def test_hostile_parameters_are_refused_at_their_place(
    http: httpx.Client, query: dict[str, str], field: str
) -> None:
    for what in ("classes", "series"):
        reply = http.get(f"/analytics/{what}", params={"model": MODEL} | query)
        found = problem_of(reply, 422)
        assert found["errors"][0]["pointer"].strip("/") == field


def test_a_model_is_needed_and_a_period_is_a_day_or_a_month(http: httpx.Client) -> None:
    problem_of(http.get("/analytics/classes"), 422)
    for by in ("hour", "day'; select 1; --", "all"):
        query = {"model": MODEL, "by": by}
        found = problem_of(http.get("/analytics/series", params=query), 422)
        assert found["errors"][0]["pointer"] == "by"


@pytest.mark.parametrize(
    "query", [{"model": "nobody@1"}, {"model": "../../etc"}, {"scene": "nowhere"}, {"job": "new"}]
)
def test_what_is_not_there_is_404(http: httpx.Client, query: dict[str, str]) -> None:
    if "job" in query:
        query = {"job": str(new_id())}
    problem_of(http.get("/analytics/classes", params={"model": MODEL} | query), 404)


def test_any_day_may_be_asked_for(http: httpx.Client) -> None:
    for first, last in (("0001-01-01", "9999-12-31"), ("0001-01-01", "0001-01-01")):
        assert ask(http, first=first, to=last)["model"] == MODEL
