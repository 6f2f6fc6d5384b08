"""Areas over HTTP: checked as a job's is, named by jobs, removed without a change in them."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from api.schemas.job import JobRequest
from api.submission import request_digest
from constellation_pipelines.domain.errors import NotFound
from constellation_pipelines.store import areas
from constellation_pipelines.store.tenancy import Tenancy
from tests.api.areas import COSTLY, polygon
from tests.api.service import MODEL, Service, square
from tests.api.test_hostile import BOW_TIE
from tests.api.test_jobs import ELSEWHERE, FIRST_TILE, body, problem_of, submit

JSON = {"Content-Type": "application/json"}


def keep(http: httpx.Client, name: str, geometry: Any = FIRST_TILE) -> dict[str, Any]:
    reply = http.post("/areas", json={"name": name, "geometry": geometry})
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def test_an_area_is_kept_listed_shown_and_removed(http: httpx.Client) -> None:
    reply = http.post("/areas", json={"name": "Lake (north)/1", "geometry": FIRST_TILE})
    assert reply.status_code == 201
    made = reply.json()
    assert reply.headers["location"] == f"/api/v1/areas/{made['id']}"
    assert (made["name"], made["account"]) == ("Lake (north)/1", "local")
    assert made["bbox"] == [15.01, 45.12, 15.02, 45.13]
    assert made["km2"] == pytest.approx(0.01 * 78.7 * 0.01 * 111.1, rel=0.01)
    assert http.get("/areas", params={"name": made["name"]}).json()["items"] == [made]
    shown = http.get(f"/areas/{made['id']}").json()
    assert shown.pop("geometry")["type"] == "MultiPolygon"
    assert shown == made
    assert http.delete(f"/areas/{made['id']}").json() == made
    problem_of(http.get(f"/areas/{made['id']}"), 404)
    problem_of(http.delete(f"/areas/{made['id']}"), 404)
    problem_of(http.get(f"/areas/{uuid4()}"), 404)


@pytest.mark.parametrize(
    ("name", "geometry", "bbox"),
    [
        ("beyond 180", square(170, -20, 190, -10), [170, -20, -170, -10]),
        ("round the pole", polygon([[0, 70], [120, 70], [-120, 70], [0, 70]]), [-180, 70, 180, 90]),
    ],
)
def test_bounds_across_180_degrees_are_those_of_rfc_7946(
    http: httpx.Client, name: str, geometry: Any, bbox: list[float]
) -> None:
    assert keep(http, name, geometry)["bbox"] == pytest.approx(bbox)


def test_features_are_one_area(http: httpx.Client) -> None:
    features = [
        {"type": "Feature", "properties": {}, "geometry": one} for one in (FIRST_TILE, ELSEWHERE)
    ]
    made = keep(http, "two places", {"type": "FeatureCollection", "features": features})
    assert made["bbox"] == [0, 0, 15.02, 45.13]
    assert len(http.get(f"/areas/{made['id']}").json()["geometry"]["coordinates"]) == 2


def test_a_name_stands_for_one_shape(http: httpx.Client) -> None:
    made = keep(http, "one shape")
    again = http.post("/areas", json={"name": "one shape", "geometry": FIRST_TILE})
    assert (again.status_code, again.json()) == (200, made)
    other = http.post("/areas", json={"name": "one shape", "geometry": ELSEWHERE})
    assert problem_of(other, 409)["errors"][0]["pointer"] == "/name"
    http.delete(f"/areas/{made['id']}")
    assert keep(http, "one shape", ELSEWHERE)["id"] != made["id"]


def test_the_same_area_sent_many_times_at_once_is_one(http: httpx.Client) -> None:
    request = {"name": "at once", "geometry": FIRST_TILE}
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: http.post("/areas", json=request), range(16)))
    assert sorted(reply.status_code for reply in replies) == [200] * 15 + [201]
    assert len({reply.json()["id"] for reply in replies}) == 1


def test_areas_come_in_pages_newest_first(http: httpx.Client) -> None:
    made = [keep(http, f"page {n}")["id"] for n in range(3)]
    first = http.get("/areas", params={"limit": 2}).json()
    rest = http.get("/areas", params={"limit": 2, "cursor": first["next"]}).json()
    assert [one["id"] for one in (first["items"] + rest["items"])[:3]] == made[::-1]
    assert "geometry" not in first["items"][0]
    problem_of(http.get("/areas", params={"cursor": "x"}), 422)


def test_an_account_has_so_many_areas_and_no_more(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(http.get("/areas", params={"limit": 500}).json()["items"])
    monkeypatch.setattr(areas, "MOST_OF_ACCOUNT", count + 1)
    keep(http, "the last one")
    refused = http.post("/areas", json={"name": "one more", "geometry": FIRST_TILE})
    assert problem_of(refused, 403)["code"] == "quota_exceeded"


# ---- what is refused ----


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "  "}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "a\x00b"}, "/name"),
        ({"name": "\ud800"}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": str(uuid4())}, "/name"),
        ({"name": 7}, "/name"),
        ({"geometry": None}, "/geometry"),
        ({"geometry": []}, "/geometry"),
        ({"geometry": {}}, "/geometry/type"),
        ({"geometry": {"type": "Point", "coordinates": [15, 45]}}, "/geometry/type"),
        ({"geometry": polygon(BOW_TIE)}, "/geometry/coordinates/0"),
        ({"geometry": polygon([[15, 45], [15, 95], [16, 96], [15, 45]])}, "/geometry/coordinates"),
        (
            {"geometry": FIRST_TILE | {"crs": {"properties": {"name": "EPSG:3857"}}}},
            "/geometry/crs",
        ),
        ({"account": "ben"}, "/account"),
    ],
)
def test_a_wrong_area_is_refused_at_its_place(
    http: httpx.Client, change: dict[str, Any], pointer: str
) -> None:
    content = json.dumps({"name": "wrong", "geometry": FIRST_TILE} | change)
    found = problem_of(http.post("/areas", content=content, headers=JSON), 422)
    assert found["errors"][0]["pointer"].startswith(pointer)
    assert http.get("/areas", params={"name": "wrong"}).json()["items"] == []


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_areas_are_kept_or_refused(http: httpx.Client, name: str) -> None:
    area, status = COSTLY[name]
    content = f'{{"name": "costly", "geometry": {area}}}'
    reply = http.post("/areas", content=content, headers=JSON)
    assert reply.status_code == (201 if status == 200 else status), reply.text
    if status == 200:
        again = http.post("/areas", content=content, headers=JSON)
        assert again.status_code == 200, "all its vertices are the same"
        http.delete(f"/areas/{reply.json()['id']}")
    elif status == 422:
        pointer = problem_of(reply, 422)["errors"][0]["pointer"]
        assert pointer.startswith("" if "bottomless" in name else "/geometry")


def test_the_database_keeps_no_invalid_shape(service: Service) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="areas_geom_is_valid"):
        service.database.execute(
            "insert into constellation.areas (id, account, name, geom, km2, bbox) values"
            " (gen_random_uuid(), 'local', 'bow', 'SRID=4326;MULTIPOLYGON(((0 0, 1 1, 1 0, 0 1,"
            " 0 0)))', 1, array[0, 0, 1, 1])"
        )


# ---- jobs over an area ----


@pytest.mark.parametrize(
    "geometry",
    [
        FIRST_TILE,
        square(15.0123456789012, 45.1200000000001, 15.0987654321098, 45.13),
        square(15.01 + 360, 45.12, 15.02 + 360, 45.13),
    ],
)
def test_a_job_over_an_area_plans_what_one_over_the_same_shape_does(
    service: Service, http: httpx.Client, scene: str, geometry: Any
) -> None:
    area = keep(http, f"planned {uuid4().hex}", geometry)
    drawn = submit(http, scene, aoi=geometry, name="drawn")
    for reference in (area["name"], area["id"]):
        job = submit(http, scene, area=reference)
        assert job["params"] == drawn["params"] | {"area": area["name"]}
        assert job["tiles_planned"] == drawn["tiles_planned"]
        grounds = service.database.fetch_all(
            "select st_asewkb(ground::geometry) as ground from constellation.runs"
            " where job_id = any(%s)",
            ([job["id"], drawn["id"]],),
        )
        assert len(grounds) == 2
        assert grounds[0] == grounds[1]


def test_a_job_keeps_its_shape_when_the_area_goes(http: httpx.Client, scene: str) -> None:
    area = keep(http, "to go")
    key = {"Idempotency-Key": uuid4().hex}
    request = body(scene, area="to go")
    job = http.post("/jobs", json=request, headers=key).json()
    http.delete(f"/areas/{area['id']}")
    keep(http, "to go", ELSEWHERE)
    shown = http.get(f"/jobs/{job['id']}").json()
    assert shown["params"] == job["params"]
    assert shown["params"]["area"] == "to go"
    assert http.post("/jobs", json=request, headers=key).json()["id"] == job["id"]
    http.post(f"/jobs/{job['id']}/cancel")
    retried = http.post(f"/jobs/{job['id']}/retry")
    assert (retried.status_code, retried.json()["tiles_planned"]) == (202, 1)


def test_a_quote_takes_an_area(http: httpx.Client, scene: str) -> None:
    keep(http, "quoted")
    reply = http.post("/jobs/quote", json=body(scene, area="quoted"))
    assert reply.json()["tiles_planned"] == 1


@pytest.mark.parametrize("path", ["/jobs", "/jobs/quote"])
@pytest.mark.parametrize(
    "change",
    [
        {"area": "nowhere"},
        {"area": str(uuid4())},
        {"area": "a\u202eb"},
        {"area": ""},
        {"area": 7},
        {"area": FIRST_TILE},
        {"area": "far away"},
        {"area": "far away", "aoi": FIRST_TILE},
    ],
)
def test_a_job_over_an_area_that_cannot_be_is_refused_there(
    http: httpx.Client, scene: str, path: str, change: dict[str, Any]
) -> None:
    http.post("/areas", json={"name": "far away", "geometry": ELSEWHERE})
    found = problem_of(http.post(path, json=body(scene, **change)), 422)
    assert found["errors"][0]["pointer"] == "/area"


def test_an_area_of_another_account_is_none(service: Service, http: httpx.Client) -> None:
    """Also for whoever sees the rows of every account, as the local admin does."""
    area = keep(http, "local's")
    for tenancy, expected in (
        (Tenancy("local"), 1),
        (Tenancy("ben"), 0),
        (Tenancy("ben", True), 1),
    ):
        with service.database.bound(tenancy).transaction() as connection:
            assert len(areas.list_page(connection, name="local's", limit=9)) == expected
            for reference in (area["id"], "local's"):
                if tenancy.account == "local":
                    assert areas.find_own(connection, "local", reference)[0].name == "local's"
                else:
                    with pytest.raises(NotFound):
                        areas.find_own(connection, "ben", reference)


def test_a_key_of_before_there_were_areas_still_stands_for_its_request() -> None:
    request = JobRequest(model=MODEL, scenes=["a"])
    text = json.dumps(request.model_dump(exclude={"area"}), sort_keys=True)
    assert request_digest(request) == hashlib.sha256(text.encode()).hexdigest()
    assert request_digest(JobRequest(model=MODEL, scenes=["a"], area="x")) != request_digest(
        request
    )
