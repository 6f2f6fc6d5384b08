"""What is wrong is refused before a device is touched, or costs one tile and no more."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Stack

FAR_AWAY = {
    "type": "Polygon",
    "coordinates": [[[100, 60], [101, 60], [101, 61], [100, 61], [100, 60]]],
}


def test_a_corrupt_block_costs_its_tile_only(stack: Stack, sample_data: Path) -> None:
    scene = stack.register(sample_data / "odd" / "corrupt.tif")
    job = stack.finished(stack.submit(scene["key"])["id"])
    assert (job["state"], job["tiles_failed"]) == ("COMPLETED", 1)
    assert job["tiles_completed"] == job["tiles_planned"] - 1
    (failed,) = stack.rows(
        "select error, class_counts, top_class from constellation.tiles "
        "where run_id = %s and state = 'FAILED'",
        job["runs"][0]["id"],
    )
    assert failed["class_counts"] == {}
    assert failed["top_class"] is None
    assert "read" in failed["error"]
    assert "/" not in failed["error"], "an error must not tell where files lie"


def test_a_scene_without_data_succeeds_with_no_chip_inferred(
    stack: Stack, sample_data: Path
) -> None:
    scene = stack.register(
        sample_data / "odd" / "all_nodata.tif",
        bands=["red", "green", "blue", "nir"],
        scale=0.0001,
        offset=0,
    )
    job = stack.finished(stack.submit(scene["key"])["id"])
    assert (job["state"], job["tiles_failed"]) == ("COMPLETED", 0)
    assert job["runs"][0]["metrics"]["class_counts"] == {}
    rows = stack.rows(
        "select distinct valid_fraction, confidence from constellation.tiles where run_id = %s",
        job["runs"][0]["id"],
    )
    assert rows == [{"valid_fraction": 0, "confidence": None}]


def test_a_scene_across_the_dateline_covers_both_sides(stack: Stack, sample_data: Path) -> None:
    scene = stack.register(
        sample_data / "odd" / "dateline_32660.tif", bands=["red"], scale=0.0001, offset=0
    )
    longitudes = [
        point[0]
        for polygon in scene["footprint"]["coordinates"]
        for ring in polygon
        for point in ring
    ]
    assert min(longitudes) == pytest.approx(-180)
    assert max(longitudes) == pytest.approx(180)
    assert scene["area_km2"] == pytest.approx(232.5 * 235.5, rel=0.01)


def test_a_scene_with_ground_control_points_only_is_refused(
    stack: Stack, sample_data: Path
) -> None:
    path = str(sample_data / "odd" / "gcps_no_crs_s1.tif")
    reply = stack.http.post("/scenes", json={"path": path})
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert "ground control points" in reply.json()["detail"].lower()


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"scenes": ["no-such-scene"]}, 422, "no-such-scene"),
        ({"model": "no-such-model"}, 422, "no-such-model"),
        ({"scenes": ["s2_b01_missouri_32615"]}, 422, "red, green, blue"),
        ({"aoi": FAR_AWAY}, 422, "l7_rgb_byte_bahamas_32618"),
        ({"accept_gsd_mismatch": False}, 422, "pixel size"),
    ],
)
def test_a_job_that_cannot_work_is_refused_with_the_reason(
    stack: Stack, sample_data: Path, change: dict[str, object], status: int, says: str
) -> None:
    for name in ("s2_b01_missouri_32615.jp2", "l7_rgb_byte_bahamas_32618.tif"):
        stack.register(sample_data / "scenes" / name)
    body: dict[str, object] = {
        "model": "eurosat-landcover",
        "scenes": ["l7_rgb_byte_bahamas_32618"],
        "accept_gsd_mismatch": True,
    }
    before = stack.rows("select count(*) as n from constellation.jobs")
    reply = stack.http.post("/jobs", json=body | change)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert says in reply.json()["detail"]
    assert stack.rows("select count(*) as n from constellation.jobs") == before
