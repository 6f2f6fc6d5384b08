"""Submitting, listing, cancelling and retrying jobs over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from shapely import MultiPolygon

from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.geo.tiling import area_of
from constellation_pipelines.store import queue
from tests.api.service import MODEL, WEST_M, Service, add_scene, square

EVERYWHERE = square(14.9, 45.0, 15.2, 45.2)
FIRST_TILE = square(15.01, 45.12, 15.02, 45.13)  # inside the upper left 512 px = 5.12 km
ELSEWHERE = square(0, 0, 1, 1)


def body(scene: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "scenes": [scene]} | more


def submit(http: httpx.Client, scene: str, **more: Any) -> dict[str, Any]:
    response = http.post("/jobs", json=body(scene, **more))
    assert response.status_code == 202, response.text
    return dict(response.json())


def set_runs(service: Service, job_id: str, state: str, error: str | None = None) -> None:
    """What the trigger on Dagster's runs does."""
    with service.database.transaction() as connection:
        connection.execute(
            "update constellation.runs set state = %s, error = %s "
            "where job_id = %s and state not in ('COMPLETED', 'FAILED', 'CANCELLED')",
            (state, error, job_id),
        )
        connection.execute("select constellation.settle_job(%s)", (job_id,))


def problem_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = dict(response.json())
    assert set(found) == {"type", "title", "status", "detail", "code", "errors"}
    assert found["status"] == status
    return found


# ---- submitting ----


def test_a_job_is_accepted_with_its_tile_count_and_place(http: httpx.Client, scene: str) -> None:
    response = http.post("/jobs", json=body(scene, priority=7, name="first"))
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert (job["state"], job["origin"], job["submitted_by"]) == ("PENDING", "api", "local")
    assert (job["name"], job["priority"]) == ("first", 7)
    assert (job["tiles_planned"], job["tiles_reused"], job["tiles_completed"]) == (4, 0, 0)
    assert job["params"] == {
        "model": MODEL,
        "scenes": [scene],
        "aoi": None,
        "accept_gsd_mismatch": False,
        "reuse": True,
        "max_failed_tile_ratio": 0.5,
        "mode": "parallel",
        "gpu_count": 1,
        "gpu_mem_mb": None,
        "max_cloud_fraction": None,
        "area": None,
    }
    shown = http.get(f"/jobs/{job['id']}").json()
    (run,) = shown.pop("runs")
    assert shown.pop("progress") == {
        "tiles_done": 0,
        "tiles_planned": 4,
        "tiles_per_s": None,
        "eta_at": None,
        "faults": [],
        "tile_errors": [],
    }
    assert shown == job
    assert (run["scene_key"], run["model"], run["state"]) == (scene, MODEL, "PENDING")
    assert http.get(f"/runs/{run['id']}").json() == run


def test_only_tiles_that_touch_the_area_are_planned(http: httpx.Client, scene: str) -> None:
    job = submit(http, scene, aoi=FIRST_TILE)
    assert job["tiles_planned"] == 1
    assert job["params"]["aoi"]["type"] == "MultiPolygon"
    assert submit(http, scene, aoi=EVERYWHERE)["tiles_planned"] == 4


def test_several_areas_are_one_job_over_all_of_them(http: httpx.Client, scene: str) -> None:
    corner = square(15.08, 45.07, 15.09, 45.08)  # inside the lower right tile
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": area}
        for name, area in (("first", FIRST_TILE), ("corner", corner))
    ]
    batch = {"type": "FeatureCollection", "features": features}
    job = submit(http, scene, aoi=batch)
    assert job["tiles_planned"] == 2
    assert job["params"]["aoi"]["type"] == "MultiPolygon"
    assert len(job["params"]["aoi"]["coordinates"]) == 2
    features[1]["geometry"] = {"type": "Point", "coordinates": [15, 45]}
    found = problem_of(http.post("/jobs", json=body(scene, aoi=batch)), 422)
    assert found["errors"][0]["pointer"] == "/aoi/features/1/geometry/type"


def test_an_area_is_cut_once_for_all_scenes_of_a_job(
    service: Service, http: httpx.Client, scene: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many vertices that takes tens of milliseconds, and a job has up to a thousand scenes."""
    other, cut = add_scene(service, "other"), 0

    def counted(aoi: dict[str, Any] | None) -> MultiPolygon | None:
        nonlocal cut
        cut += 1
        return area_of(aoi)

    monkeypatch.setattr("api.submission.area_of", counted)
    request = {"model": MODEL, "scenes": [scene, other], "aoi": EVERYWHERE}
    assert http.post("/jobs/quote", json=request).json()["tiles_planned"] == 8
    assert cut == 1


def test_names_are_resolved_and_a_scene_named_twice_runs_once(
    http: httpx.Client, scene: str
) -> None:
    by_id = http.get(f"/scenes/{scene}").json()["id"]
    response = http.post("/jobs", json={"model": "landcover", "scenes": [by_id, scene]})
    job = response.json()
    assert (job["params"]["model"], job["params"]["scenes"]) == (MODEL, [scene])
    assert job["tiles_planned"] == 4


def test_a_quote_counts_tiles_and_submits_nothing(
    service: Service, http: httpx.Client, scene: str
) -> None:
    count = "select count(*) as n from constellation.jobs"
    before = service.database.fetch_one(count)
    quote = http.post("/jobs/quote", json=body(scene, aoi=FIRST_TILE)).json()
    unknown = {"low": None, "expected": None, "high": None}
    assert quote == {
        "model": MODEL,
        "tiles_planned": 1,
        "tiles_reused": 0,
        "tiles_to_run": 1,
        "device_s": unknown,
        "device_s_reason": "this model has not run on any of these devices yet",
        "finish_at": unknown,
        "finish_reason": "no worker is running: `constellation status` tells what is up",
        "kinds": [],
        "scenes": [{"scene": scene, "tiles_planned": 1, "tiles_reused": 0, "gsd_mismatch": False}],
    }
    assert service.database.fetch_one(count) == before
    assert http.post("/jobs/quote", json=body(scene, aoi=ELSEWHERE)).status_code == 422


def test_tiles_with_a_valid_result_are_reused_unless_told_not_to(
    service: Service, http: httpx.Client
) -> None:
    scene = add_scene(service, "reused")
    job = submit(http, scene)
    complete_one_tile(service, job["id"], scene)
    unfinished = http.post("/jobs/quote", json=body(scene)).json()
    assert unfinished["tiles_reused"] == 0, "its run may yet be cancelled, and leave no file"
    set_runs(service, job["id"], "COMPLETED")
    quote = http.post("/jobs/quote", json=body(scene)).json()
    assert (quote["tiles_reused"], quote["tiles_to_run"]) == (1, 3)
    anew = http.post("/jobs/quote", json=body(scene, reuse=False)).json()
    assert (anew["tiles_reused"], anew["tiles_to_run"]) == (0, 4)


def test_a_share_of_clouds_is_kept_and_decides_what_is_reused(
    service: Service, http: httpx.Client
) -> None:
    scene = add_scene(service, "masked")
    service.database.execute(
        "update constellation.scenes set quality = %s where key = %s",
        ('{"kind": "scl", "uri": "/scl.tif", "index": 1}', scene),
    )
    job = submit(http, scene, max_cloud_fraction=0.25)
    assert job["params"]["max_cloud_fraction"] == 0.25
    assert job["tiles_skipped"] == 0
    plain = submit(http, scene)
    complete_one_tile(service, plain["id"], scene)
    set_runs(service, plain["id"], "COMPLETED")
    assert http.post("/jobs/quote", json=body(scene)).json()["tiles_reused"] == 1
    masked = http.post("/jobs/quote", json=body(scene, max_cloud_fraction=0.25)).json()
    assert masked["tiles_reused"] == 0, "a tile without its clouds left out is another result"


def test_a_tile_is_served_as_geojson(service: Service, http: httpx.Client) -> None:
    scene = add_scene(service, "served")
    job = submit(http, scene)
    run = http.get(f"/jobs/{job['id']}").json()["runs"][0]["id"]
    empty = http.get(f"/runs/{run}/tiles")
    assert empty.headers["content-type"] == "application/geo+json"
    assert empty.json() == {"type": "FeatureCollection", "features": [], "next": None}
    complete_one_tile(service, job["id"], scene)
    found = http.get(f"/runs/{run}/tiles", params={"limit": 1}).json()
    (feature,) = found["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert feature["properties"]["class_counts"] == {"0": 60, "1": 4}
    assert feature["properties"]["confidence"] == 0.9
    assert feature["properties"]["statistics"] is None
    assert feature["properties"]["cloud_fraction"] is None
    assert found["next"] == "0,0"
    rest = http.get(f"/runs/{run}/tiles", params={"after": found["next"]}).json()
    assert rest["features"] == []
    assert http.get(f"/jobs/{job['id']}").json()["area_km2"] == 26.2


def complete_one_tile(service: Service, job_id: str, scene: str) -> None:
    """A result in the upper left tile."""
    from constellation_pipelines.domain.tile import tile_digest
    from constellation_pipelines.domain.window import Window

    digest = service.http.get(f"/scenes/{scene}").json()["digest"]
    service.database.execute(
        """
        insert into constellation.tiles (id, digest, scene_id, model_id, run_id, job_id,
          row_off_px, col_off_px, height_px, width_px, state, footprint, geom_3857, area_km2,
          class_counts, top_class, confidence, valid_fraction, read_ms, infer_ms)
        select %s, %s, scene_id, model_id, id, job_id, 0, 0, 512, 512, 'COMPLETED',
          'MULTIPOLYGON(((15 45, 16 45, 16 46, 15 45)))',
          'SRID=3857;MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))', 26.2,
          '{"0": 60, "1": 4}', 0, 0.9, 1, 1, 1
          from constellation.runs where job_id = %s
        """,
        (new_id(), tile_digest(digest, "d" * 64, Window(0, 0, 512, 512), "local"), job_id),
    )


# ---- refusals ----


def test_an_unknown_scene_or_model_is_pointed_at(http: httpx.Client, scene: str) -> None:
    found = problem_of(http.post("/jobs", json={"model": MODEL, "scenes": [scene, "no"]}), 422)
    assert found["code"] == "invalid_input"
    assert found["errors"][0]["pointer"] == "/scenes/1"
    assert "'no'" in found["detail"]
    found = problem_of(http.post("/jobs", json={"model": "no@1", "scenes": [scene]}), 422)
    assert found["errors"][0]["pointer"] == "/model"
    assert MODEL in found["detail"]  # what there is


def test_a_scene_with_too_few_bands_is_refused(service: Service, http: httpx.Client) -> None:
    bare = add_scene(service, "one-band", bands=1, bands_named=["red"])
    found = problem_of(http.post("/jobs", json=body(bare)), 422)
    assert found["code"] == "scene_unfit"
    assert found["errors"][0]["pointer"] == "/scenes/0"
    assert "no band green, blue" in found["detail"]


def test_a_scene_of_the_wrong_pixel_size_needs_consent(
    service: Service, http: httpx.Client
) -> None:
    coarse = add_scene(service, "coarse", pixel_m=60, size_px=512)
    found = problem_of(http.post("/jobs", json=body(coarse)), 422)
    assert found["errors"][0]["pointer"] == "/accept_gsd_mismatch"
    quote = http.post("/jobs/quote", json=body(coarse, accept_gsd_mismatch=True)).json()
    assert quote["scenes"][0]["gsd_mismatch"] is True


def test_an_area_that_misses_a_scene_names_it(service: Service, http: httpx.Client) -> None:
    near = add_scene(service, "near", size_px=512)
    far = add_scene(service, "far", size_px=512, west_m=WEST_M + 100_000)
    request = {"model": MODEL, "scenes": [near, far], "aoi": FIRST_TILE}
    found = problem_of(http.post("/jobs", json=request), 422)
    assert found["code"] == "aoi_misses_scene"
    assert far in found["detail"]
    assert near not in found["detail"]
    assert found["errors"][0]["pointer"] == "/aoi"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"model": 5}, "/model"),
        ({"model": ""}, "/model"),
        ({"model": "a\x00b"}, "/model"),
        ({"model": "a\r\nb"}, "/model"),
        ({"model": "x" * 5000}, "/model"),
        ({"scenes": []}, "/scenes"),
        ({"scenes": "all"}, "/scenes"),
        ({"scenes": [None]}, "/scenes/0"),
        ({"scenes": ["x"] * 1001}, "/scenes"),
        ({"scenes": ["'; drop table constellation.jobs; --"]}, "/scenes/0"),
        ({"scenes": ["../../etc/passwd"]}, "/scenes/0"),
        ({"priority": 101}, "/priority"),
        ({"priority": 10**400}, "/priority"),
        ({"priority": "high"}, "/priority"),
        ({"max_failed_tile_ratio": 1.5}, "/max_failed_tile_ratio"),
        ({"max_failed_tile_ratio": float("nan")}, "/max_failed_tile_ratio"),
        ({"max_cloud_fraction": 1.5}, "/max_cloud_fraction"),
        ({"max_cloud_fraction": -0.1}, "/max_cloud_fraction"),
        ({"max_cloud_fraction": float("nan")}, "/max_cloud_fraction"),
        ({"max_cloud_fraction": "half"}, "/max_cloud_fraction"),
        ({"max_cloud_fraction": 0.5}, "/max_cloud_fraction"),  # the scene has no quality mask
        ({"name": "\x1b[31mred"}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "\ud800"}, "/name"),
        ({"reuse": "perhaps"}, "/reuse"),
        ({"prioritty": 1}, "/prioritty"),
        ({"aoi": []}, "/aoi"),
        ({"aoi": {"type": "\ud800"}}, "/aoi/type"),
        ({"aoi": {}}, "/aoi/type"),
        ({"aoi": {"type": "Point", "coordinates": [1, 2]}}, "/aoi/type"),
        ({"aoi": {"type": "Polygon", "coordinates": []}}, "/aoi/coordinates"),
        ({"aoi": square(float("nan"), 0, 1, 1)}, "/aoi/coordinates/0/0"),
        ({"aoi": square(0, 0, float("inf"), 1)}, "/aoi/coordinates/0/1"),
        ({"aoi": square(500_000, 4_990_000, 500_100, 4_990_100)}, "/aoi/coordinates/0/0"),
        ({"aoi": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}},
         "/aoi/coordinates/0"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_a_pointer_to_it(
    http: httpx.Client, scene: str, change: dict[str, Any], pointer: str
) -> None:
    import json

    content = json.dumps(body(scene) | change)
    headers = {"content-type": "application/json"}
    found = problem_of(http.post("/jobs", content=content, headers=headers), 422)
    assert found["errors"][0]["pointer"] == pointer
    assert "\x1b" not in found["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"aoi":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"model":"m","scenes":["s"],"aoi":' + b'{"a":' * 900 + b"1" + b"}" * 901,
        b'{"priority": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_request_is_refused(http: httpx.Client, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    found = problem_of(http.post("/jobs", content=content, headers=headers), 422)
    assert found["code"] == "invalid_request"
    assert found["errors"], "the place is pointed at"


def test_a_body_above_the_limit_is_refused(http: httpx.Client) -> None:
    content = b'{"model": "' + b"x" * 3_000_000 + b'"}'
    found = problem_of(http.post("/jobs", content=content), 413)
    assert "2097152 bytes" in found["detail"]
    chunks = iter([content[:1_000_000], content[1_000_000:]])  # of undeclared length
    headers = {"content-type": "application/json"}
    problem_of(http.post("/jobs", content=chunks, headers=headers), 413)


# ---- idempotency ----


def test_fifty_posts_at_once_with_one_key_make_one_job(service: Service, scene: str) -> None:
    key = uuid4().hex

    def post(_: int) -> tuple[int, Any]:
        response = httpx.post(
            f"{service.url}/api/v1/jobs",
            json=body(scene),
            headers={"Idempotency-Key": key},
            timeout=30,
        )
        return response.status_code, response.json()

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(post, range(50)))
    assert {status for status, _ in replies} == {202}
    assert len({reply["id"] for _, reply in replies}) == 1
    assert all(reply == replies[0][1] for _, reply in replies)


def test_a_key_used_for_another_request_is_a_conflict(http: httpx.Client, scene: str) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    assert http.post("/jobs", json=body(scene), headers=headers).status_code == 202
    # The same request, written differently.
    again = http.post("/jobs", json=body(scene, priority=0, aoi=None), headers=headers)
    assert again.status_code == 202
    other = http.post("/jobs", json=body(scene, priority=1), headers=headers)
    assert problem_of(other, 409)["code"] == "conflict"


def test_without_a_key_each_post_is_a_job(http: httpx.Client, scene: str) -> None:
    assert submit(http, scene)["id"] != submit(http, scene)["id"]


@pytest.mark.parametrize("key", ["", "x" * 201, "tab\there"])
def test_an_unusable_key_is_refused(http: httpx.Client, scene: str, key: str) -> None:
    response = http.post("/jobs", json=body(scene), headers={"Idempotency-Key": key})
    assert problem_of(response, 422)["errors"][0]["pointer"] == "idempotency-key"


# ---- listing ----


def test_pages_follow_each_other_to_the_end(http: httpx.Client, scene: str) -> None:
    ids = [submit(http, scene, name=f"page {n}")["id"] for n in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = http.get("/jobs", params=params).json()
        found += [job["id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found[:5] == ids[::-1]
    assert len(found) == len(set(found))


def test_jobs_are_filtered(service: Service, http: httpx.Client, scene: str) -> None:
    job = submit(http, scene)["id"]
    http.post(f"/jobs/{job}/cancel")

    def listed(**params: Any) -> list[str]:
        page = http.get("/jobs", params={"limit": 500} | params)
        assert page.status_code == 200, page.text
        return [item["id"] for item in page.json()["items"]]

    assert job in listed(state="CANCELLED")
    assert job in listed(state=["PENDING", "CANCELLED"])
    assert job not in listed(state="PENDING")
    assert job in listed(submitted_by="local", model=MODEL)
    assert listed(submitted_by="' or true --") == []
    assert job in listed(bbox="14,44,16,46")
    assert job not in listed(bbox="0,0,1,1")
    assert job in listed(near="15.01,45.1", radius_m=1000)
    assert job not in listed(near="0,0", radius_m=1000)


def test_a_job_is_near_where_its_area_touched_the_scene(http: httpx.Client, scene: str) -> None:
    part = submit(http, scene, aoi=FIRST_TILE)["id"]  # the upper left 512 of 1024 px
    whole = submit(http, scene)["id"]

    def near(lon_lat: str) -> set[str]:
        page = http.get("/jobs", params={"near": lon_lat, "radius_m": 500, "limit": 500})
        assert page.status_code == 200, page.text
        return {item["id"] for item in page.json()["items"]} & {part, whole}

    assert near("15.06,45.14") == {part, whole}  # in the tile, outside of what was asked for
    assert near("15.12,45.08") == {whole}
    assert near("15.2,45.08") == set()


@pytest.mark.parametrize("place", ["0,90", "0,-90", "180,0", "-180,0", "-0,-0", "1e-320,0"])
@pytest.mark.parametrize("radius_m", ["1e-300", "20100000"])
def test_any_place_on_earth_can_be_asked_for(http: httpx.Client, place: str, radius_m: str) -> None:
    page = http.get("/jobs", params={"near": place, "radius_m": radius_m})
    assert page.status_code == 200, page.text


def test_a_job_has_the_same_text_in_a_list_and_by_itself(http: httpx.Client, scene: str) -> None:
    made = submit(http, scene, name='quotes " and \\ and \u2028 and \U0001f6f0', aoi=FIRST_TILE)
    listed = http.get("/jobs", params={"limit": 1}).json()["items"][0]
    shown = http.get(f"/jobs/{made['id']}").json()
    assert listed == made
    assert list(listed) == list(made)
    assert listed == {name: shown[name] for name in listed}


def test_jobs_are_listed_in_the_order_asked_for(http: httpx.Client, scene: str) -> None:
    low, high = (submit(http, scene, priority=value)["id"] for value in (90, 99))

    def first(**params: Any) -> str:
        return str(http.get("/jobs", params=params).json()["items"][0]["id"])

    assert first() == high
    assert first(sort="priority") == high
    cancelled = http.patch(f"/jobs/{low}", json={"priority": 100})
    assert cancelled.status_code == 200
    assert first(sort="priority") == low
    created_at = http.get(f"/jobs/{low}").json()["created_at"]
    assert first(sort="oldest", created_after=created_at) == low
    page = http.get("/jobs", params={"sort": "oldest", "limit": 1}).json()
    params = {"cursor": page["next"], "limit": 1}
    assert http.get("/jobs", params=params | {"sort": "oldest"}).status_code == 200
    problem_of(http.get("/jobs", params=params), 422)  # the cursor is of another order
    for extreme in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        assert http.get("/jobs", params={"created_after": extreme}).status_code == 200


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=ten", "limit"),
        ("cursor=abc", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("cursor=WyIyMDI1IiwxXQ", "/cursor"),
        ("state=DONE", "state/0"),
        ("state=PENDING' or 1=1", "state/0"),
        ("submitted_by=%00", "submitted_by"),
        ("bbox=1,2,3", "/bbox"),
        ("bbox=nan,0,1,1", "/bbox"),
        ("bbox=0,2,1,1", "/bbox"),
        ("bbox=0,0,181,1", "/bbox"),
        ("near=0,0", "/near"),
        ("near=0,91&radius_m=1", "/near"),
        ("near=0,0&radius_m=-1", "radius_m"),
        ("near=0,0&radius_m=inf", "radius_m"),
        ("near=0,0&radius_m=nan", "radius_m"),
        ("near=0,0&radius_m=0", "radius_m"),
        ("near=0,0&radius_m=20100001", "radius_m"),
        ("near=0,0&radius_m=1 or 1=1", "radius_m"),
        ("radius_m=1", "/near"),
        ("near=nan,0&radius_m=1", "/near"),
        ("near=0,inf&radius_m=1", "/near"),
        ("near=1e400,0&radius_m=1", "/near"),
        ("near=181,0&radius_m=1", "/near"),
        ("near=0,0,0&radius_m=1", "/near"),
        ("near=,&radius_m=1", "/near"),
        ("near=&radius_m=1", "/near"),
        ("near=%00,0&radius_m=1", "/near"),
        ("near=0,0);select 1;--&radius_m=1", "/near"),
        ("near=POINT(0 0)&radius_m=1", "/near"),
        ("sort=id", "sort"),
        (
            "sort=priority&cursor=WyJuZXdlc3QiLDAsIjIwMjYtMDEtMDFUMDA6MDA6MDArMDA6MDAiLCIwIl0",
            "/cursor",
        ),
        ("created_after=yesterday", "created_after"),
        ("created_after=2026-01-01T00:00:00", "created_after"),  # where?
        ("created_before=2026-13-01T00:00:00Z", "created_before"),
        ("created_before=%00", "created_before"),
        ("created_before=1e400", "created_before"),
        ("created_after=nan", "created_after"),
    ],
)
def test_a_wrong_filter_is_refused(http: httpx.Client, query: str, pointer: str) -> None:
    found = problem_of(http.get(f"/jobs?{query}"), 422)
    assert found["errors"][0]["pointer"] == pointer


# ---- cancelling, retrying ----


def test_a_pending_job_is_cancelled_at_once(http: httpx.Client, scene: str) -> None:
    job = submit(http, scene)["id"]
    cancelled = http.post(f"/jobs/{job}/cancel")
    assert cancelled.status_code == 202
    assert cancelled.json()["state"] == "CANCELLED"
    assert [run["state"] for run in cancelled.json()["runs"]] == ["CANCELLED"]
    assert http.post(f"/jobs/{job}/cancel").json()["state"] == "CANCELLED"


def test_a_completed_job_can_be_neither_cancelled_nor_retried(
    service: Service, http: httpx.Client, scene: str
) -> None:
    job = submit(http, scene)["id"]
    set_runs(service, job, "COMPLETED")
    problem_of(http.post(f"/jobs/{job}/cancel"), 409)
    problem_of(http.post(f"/jobs/{job}/retry"), 409)


def test_a_retry_runs_what_did_not_complete(service: Service, http: httpx.Client) -> None:
    scene = add_scene(service, "retried")
    job = submit(http, scene)["id"]
    complete_one_tile(service, job, scene)
    set_runs(service, job, "FAILED", "the engine died")
    failed = http.get(f"/jobs/{job}").json()
    assert (failed["state"], failed["error"]) == ("FAILED", "the engine died")
    again = http.post(f"/jobs/{job}/retry")
    assert again.status_code == 202
    first, second = again.json()["runs"]
    assert (first["state"], second["state"]) == ("FAILED", "PENDING")
    # Not reused from another job: the new run takes the tile over as it starts (test_adoption.py).
    assert (second["attempt"], second["tiles_planned"], second["tiles_reused"]) == (2, 4, 0)
    assert (again.json()["state"], again.json()["error"]) == ("PENDING", None)
    set_runs(service, job, "COMPLETED")
    assert http.get(f"/jobs/{job}").json()["state"] == "COMPLETED"


# ---- placement ----


def test_a_job_says_how_its_runs_are_to_be_placed(http: httpx.Client, scene: str) -> None:
    response = http.post("/jobs", json=body(scene, mode="serial", gpu_count=2, gpu_mem_mb=8000))
    assert response.status_code == 202
    params = response.json()["params"]
    assert (params["mode"], params["gpu_count"], params["gpu_mem_mb"]) == ("serial", 2, 8000)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("mode", "random"),
        ("gpu_count", 0),
        ("gpu_count", 65),
        ("gpu_count", "two"),
        ("gpu_mem_mb", 0),
        ("gpu_mem_mb", 10**9),
    ],
)
def test_a_placement_that_makes_no_sense_is_refused(
    http: httpx.Client, scene: str, member: str, value: object
) -> None:
    found = problem_of(http.post("/jobs", json=body(scene, **{member: value})), 422)
    assert found["errors"][0]["pointer"] == f"/{member}"


def enqueue(service: Service, run_id: str) -> None:
    """What Dagster's launcher does with a run."""
    with service.database.transaction() as connection:
        queue.enqueue(
            connection,
            run_id=UUID(run_id),
            instance_ref="{}",
            resume=False,
            priority=0,
            gpu_count=1,
        )


def test_a_waiting_run_says_why_it_waits(service: Service, scene: str) -> None:
    job = submit(service.http, scene)["id"]
    (run,) = service.http.get(f"/jobs/{job}").json()["runs"]
    assert run["waiting"]["code"] == "pending"
    enqueue(service, run["id"])
    (run,) = service.http.get(f"/jobs/{job}").json()["runs"]
    assert run["waiting"]["code"] == "no_worker"
    assert run["waiting"]["place"] >= 1
    assert service.http.get(f"/runs/{run['id']}").json() == run
    set_runs(service, job, "COMPLETED")
    with service.database.transaction() as connection:
        queue.withdraw(connection, UUID(run["id"]))
    assert service.http.get(f"/runs/{run['id']}").json()["waiting"] is None


def test_a_raised_priority_counts_at_once(service: Service, scene: str) -> None:
    first, second = (submit(service.http, scene)["id"] for _ in range(2))
    runs = {}
    for job in (first, second):
        (run,) = service.http.get(f"/jobs/{job}").json()["runs"]
        runs[job] = run["id"]
        enqueue(service, run["id"])
    with service.database.listen("constellation_queue") as listener:
        changed = service.http.patch(f"/jobs/{second}", json={"priority": 9})
        assert changed.status_code == 200, changed.text
        assert next(listener.notifies(timeout=60)).payload == second
    assert changed.json()["priority"] == 9
    assert changed.json()["runs"][0]["waiting"]["place"] == 1
    again = service.http.patch(f"/jobs/{first}", json={"priority": 10}).json()
    assert again["runs"][0]["waiting"]["place"] == 1
    for run_id in runs.values():
        with service.database.transaction() as connection:
            queue.withdraw(connection, UUID(run_id))


def test_the_priority_of_a_job_that_is_over_does_not_change(service: Service, scene: str) -> None:
    job = submit(service.http, scene)["id"]
    set_runs(service, job, "COMPLETED")
    found = problem_of(service.http.patch(f"/jobs/{job}", json={"priority": 1}), 409)
    assert found["detail"] == f"job {job} is already COMPLETED: none of its runs waits"


@pytest.mark.parametrize("change", [{}, {"priority": 101}, {"priority": 0, "name": "x"}, []])
def test_a_change_that_makes_no_sense_is_refused(
    http: httpx.Client, scene: str, change: object
) -> None:
    problem_of(http.patch(f"/jobs/{submit(http, scene)['id']}", json=change), 422)


@pytest.mark.parametrize("path", ["/jobs/{}", "/jobs/{}/cancel", "/jobs/{}/retry", "/runs/{}"])
def test_an_unknown_id_is_not_found(http: httpx.Client, path: str) -> None:
    post = path.endswith(("cancel", "retry"))
    unknown = path.format(new_id())
    found = problem_of(http.post(unknown) if post else http.get(unknown), 404)
    assert found["code"] == "not_found"
    malformed = path.format("1 or 1=1")
    found = problem_of(http.post(malformed) if post else http.get(malformed), 422)
    assert "this is no id: ids are UUIDs" in found["detail"]
