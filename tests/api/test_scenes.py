"""Scenes, models and GPUs over HTTP."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store import devices, faults
from tests.api.service import MODEL, Service, add_scene, write_raster
from tests.api.test_jobs import problem_of


def test_a_scene_is_registered_once(service: Service, http: httpx.Client) -> None:
    path = write_raster(service.scenes / "once.tif")
    created = http.post("/scenes", json={"path": "once.tif"})
    assert created.status_code == 201
    scene = created.json()
    assert created.headers["location"] == f"/api/v1/scenes/{scene['key']}"
    assert (scene["width_px"], scene["height_px"]) == (1024, 1024)
    assert [band["common_name"] for band in scene["bands"]] == ["red", "green", "blue"]
    assert scene["gsd_m"] == pytest.approx(10, rel=0.01)
    assert scene["footprint"]["type"] == "MultiPolygon"
    again = http.post("/scenes", json={"path": str(path)})
    assert again.status_code == 200
    assert again.json()["id"] == scene["id"]
    assert http.get(f"/scenes/{scene['key']}").json() == again.json()
    assert http.get(f"/scenes/{scene['id']}").json()["item"]["type"] == "Feature"


def test_scenes_are_paged_by_key(service: Service, http: httpx.Client) -> None:
    keys = {add_scene(service, f"paged-{n}", size_px=128) for n in range(3)}
    found: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = http.get("/scenes", params=params).json()
        found += [scene["key"] for scene in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert keys <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside.tif",
        "link.tif",
        "missing.tif",
        "",
        "a\x00.tif",
        "http://127.0.0.1:9/x.tif",
        "/vsicurl/http://127.0.0.1:9/x.tif",
        "/vsizip/x.zip/x.tif",
        "vrt://small.tif",
        "text.tif",
        ".",
    ],
)
def test_a_path_that_is_no_scene_is_refused(
    service: Service, http: httpx.Client, path: str
) -> None:
    outside = write_raster(service.scenes.parent / "outside.tif", size_px=64)
    link = service.scenes / "link.tif"
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    (service.scenes / "text.tif").write_text("root:x:0:0")
    found = problem_of(http.post("/scenes", json={"path": path}), 422)
    assert "root:" not in found["detail"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"path": 5}, "/path"),
        ({"bands": []}, "/bands"),
        ({"bands": ["red; drop"]}, "/bands/0"),
        ({"bands": ["red"] * 201}, "/bands"),
        ({"scale": 0}, "/scale"),
        ({"scale": 1e300}, "/scale"),
        ({"offset": -1e300}, "/offset"),
        ({"key": "a,b"}, "/key"),
        ({"key": "../x"}, "/key"),
        ({"href": "http://x"}, "/href"),
        ({"quality": "m.tif"}, "/quality"),
        ({"quality": {"path": "m.tif"}}, "/quality/kind"),
        ({"quality": {"path": "m.tif", "kind": "fmask"}}, "/quality/kind"),
        ({"quality": {"path": "m.tif", "kind": "scl", "index": 0}}, "/quality/index"),
        ({"quality": {"path": "m.tif", "kind": "scl", "url": "x"}}, "/quality/url"),
    ],
)
def test_a_wrong_value_is_pointed_at(
    http: httpx.Client, change: dict[str, Any], pointer: str
) -> None:
    found = problem_of(http.post("/scenes", json={"path": "once.tif"} | change), 422)
    assert found["errors"][0]["pointer"] == pointer


def test_a_scene_may_have_a_mask_of_its_clouds(service: Service, http: httpx.Client) -> None:
    write_raster(service.scenes / "clouded.tif")
    mask = write_raster(service.scenes / "clouds.tif")
    request = {"path": "clouded.tif", "quality": {"path": "clouds.tif", "kind": "scl", "index": 2}}
    created = http.post("/scenes", json=request)
    assert created.status_code == 201
    assert created.json()["quality"] == {"kind": "scl", "uri": str(mask), "index": 2}
    plain = http.post("/scenes", json={"path": "clouded.tif"})
    assert plain.json()["id"] == created.json()["id"]
    assert plain.json()["quality"] is None
    assert plain.json()["digest"] != created.json()["digest"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.tif", "/vsicurl/http://127.0.0.1:9/x"])
def test_a_mask_comes_from_the_same_folders(
    service: Service, http: httpx.Client, path: str
) -> None:
    write_raster(service.scenes.parent / "outside.tif", size_px=1024)
    write_raster(service.scenes / "clear.tif")
    request = {"path": "clear.tif", "quality": {"path": path, "kind": "scl"}}
    found = problem_of(http.post("/scenes", json=request), 422)
    assert "its quality mask: " in found["detail"]
    assert "root:" not in found["detail"]


def test_a_band_without_a_name_is_a_dash(service: Service, http: httpx.Client) -> None:
    write_raster(service.scenes / "dash.tif")
    scene = http.post("/scenes", json={"path": "dash.tif", "bands": ["NIR", "-", "B04 red"]})
    assert [band["common_name"] for band in scene.json()["bands"]] == ["nir", None, None]


def test_a_key_of_another_scene_is_a_conflict(service: Service, http: httpx.Client) -> None:
    key = add_scene(service, "taken", size_px=64)
    write_raster(service.scenes / "other.tif", size_px=64)
    problem_of(http.post("/scenes", json={"path": "other.tif", "key": key}), 409)


def test_a_scene_is_described_anew_until_a_job_has_used_it(
    service: Service, http: httpx.Client
) -> None:
    write_raster(service.scenes / "anew.tif", dtype="uint16")
    unfit = http.post("/scenes", json={"path": "anew.tif"}).json()
    job = {"model": MODEL, "scenes": ["anew"]}
    assert "--scale" in problem_of(http.post("/jobs", json=job), 422)["detail"]
    again = http.post("/scenes", json={"path": "anew.tif", "scale": 0.0001, "offset": 0})
    assert again.status_code == 200
    assert again.json()["id"] == unfit["id"]
    assert again.json()["digest"] != unfit["digest"]
    assert {band["scale"] for band in again.json()["bands"]} == {0.0001}
    assert http.post("/jobs", json=job).status_code == 202
    other = {"path": "anew.tif", "scale": 0.0002, "offset": 0}
    refused = problem_of(http.post("/scenes", json=other), 409)
    assert refused["errors"][0]["pointer"] == "/key"
    assert "--key" in refused["detail"]
    beside = http.post("/scenes", json=other | {"key": "anew-2"})
    assert (beside.status_code, beside.json()["key"]) == (201, "anew-2")
    assert http.get("/scenes/anew").json() == again.json()


@pytest.mark.parametrize("reference", ["none", "' or 1=1 --", "%00", "%E2%80%A8", "a" * 301])
def test_an_unknown_scene_or_model_is_not_found(http: httpx.Client, reference: str) -> None:
    for noun in ("scenes", "models"):
        response = http.get(f"/{noun}/{reference}")
        assert response.status_code in (404, 422)
        problem_of(response, response.status_code)


def test_models_are_listed_with_what_they_take(http: httpx.Client) -> None:
    (model,) = http.get("/models").json()["items"]
    assert model["reference"] == MODEL
    assert model["bands"] == ["red", "green", "blue"]
    assert (model["chip_px"], model["gsd_min_m"], model["gsd_max_m"]) == (64, 5, 20)
    assert [item["name"] for item in model["classes"]] == ["water", "land"]
    assert http.get(f"/models/{MODEL}").json() == model
    assert http.get("/models/landcover").json() == model


def test_a_gpu_says_that_it_is_simulated_and_who_holds_it(
    service: Service, http: httpx.Client, scene: str
) -> None:
    assert http.get("/gpus").json() == {"items": []}
    worker, gpu = new_id(), new_id()
    job = http.post("/jobs", json={"model": MODEL, "scenes": [scene]}).json()["id"]
    run = http.get(f"/jobs/{job}").json()["runs"][0]["id"]
    with service.database.transaction() as connection:
        connection.execute(
            "insert into constellation.workers (id, host, pid) values (%s, 'h', 1)", (worker,)
        )
        connection.execute(
            "insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated,"
            " worker_id, engine_ready) values (%s, 'SIM-0', 'h', 0, 'CPU', 8000, true, %s, true)",
            (gpu, worker),
        )
    (free,) = http.get("/gpus").json()["items"]
    assert (free["uuid"], free["simulated"], free["online"]) == ("SIM-0", True, True)
    assert free["held_by"] is None
    assert (free["health"], free["health_reason"], free["faults"]) == ("ok", None, [])
    with service.database.transaction() as connection:
        connection.execute(
            "insert into constellation.leases (fence, gpu_id, worker_id, run_id, expires_at)"
            " values (1, %s, %s, %s, now() + interval '1 min')",
            (gpu, worker, run),
        )
        connection.execute("update constellation.runs set gpu_id = %s where id = %s", (gpu, run))
    (held,) = http.get("/gpus").json()["items"]
    assert (held["held_by"]["run_id"], held["held_by"]["job_id"]) == (run, job)
    shown = http.get(f"/runs/{run}").json()
    assert (shown["device_uuid"], shown["simulated"]) == ("SIM-0", True)


def test_a_gpu_tells_how_it_is_and_what_went_wrong_on_it_lately(
    service: Service, http: httpx.Client
) -> None:
    gpu = new_id()
    service.database.execute(
        "insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated)"
        " values (%s, 'SIM-9', 'h', 0, 'CPU', 8000, true)",
        (gpu,),
    )
    with service.database.transaction() as connection:
        devices.quarantine(connection, "SIM-9", "Xid 79")
        for number in range(7):
            fault = Fault(
                FaultKind.DEVICE, Decision.QUARANTINE_DEVICE, f"fault {number}", gpu_id=gpu
            )
            faults.record(connection, fault)
    shown = gpu_of(http, "SIM-9")
    assert (shown["health"], shown["health_reason"]) == ("quarantined", "Xid 79")
    assert shown["health_at"] is not None
    assert [fault["message"] for fault in shown["faults"]] == [
        f"fault {number}" for number in (6, 5, 4, 3, 2)
    ]
    assert shown["faults"][0]["decision"] == "quarantine_device"
    with service.database.transaction() as connection:
        devices.readmit(connection, "SIM-9")
    shown = gpu_of(http, "SIM-9")
    assert (shown["health"], shown["health_reason"]) == ("ok", None)


def gpu_of(http: httpx.Client, uuid: str) -> dict[str, Any]:
    """One of the GPUs that the tests of this module have made."""
    (found,) = [gpu for gpu in http.get("/gpus").json()["items"] if gpu["uuid"] == uuid]
    return dict(found)


def test_a_real_scene_can_be_quoted(
    service: Service, http: httpx.Client, sample_data: Path
) -> None:
    for source in sorted((sample_data / "scenes").glob("s2b_*")):
        (service.scenes / source.name).write_bytes(source.read_bytes())
    (raster,) = service.scenes.glob("s2b_*.tif")
    scene = http.post("/scenes", json={"path": raster.name}).json()
    quote = http.post("/jobs/quote", json={"model": MODEL, "scenes": [scene["key"]]})
    assert quote.status_code == 200
    assert quote.json()["tiles_planned"] > 1
