"""From `POST /jobs` to the event, the row, the file and the materialization."""

import threading
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from tests.e2e.conftest import Stack

LIBYA = "s2_tci_libya_32634"

MATERIALIZATIONS = """
query Runs($run: ID!) { runOrError(runId: $run) { ... on Run {
  status tags { key value }
  assetMaterializations { partition assetKey { path } metadataEntries { label
    ... on IntMetadataEntry { intValue } ... on BoolMetadataEntry { boolValue }
    ... on MarkdownMetadataEntry { mdStr } } }
  assetChecks { name }
} } }
"""

CHECKS = """
query Checks($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name
    executionForLatestMaterialization { status evaluation { success } } } } } } } }
"""

LAUNCH = """
mutation Launch($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""


@pytest.fixture(scope="module")
def done(stack: Stack, sample_data: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A finished job on a real Sentinel-2 scene, and the events that came on the way."""
    scene = stack.register(sample_data / "scenes" / f"{LIBYA}.tif")
    stream = stack.events(until="job.completed")
    job: dict[str, Any] = {}
    events = []
    posted = threading.Timer(0.5, lambda: job.update(stack.submit(scene["key"])))
    posted.start()
    for event in stream:
        events.append(event)
    posted.join()
    assert job["state"] == "PENDING"
    return stack.finished(job["id"]), events


def test_the_job_is_completed_and_every_tile_is_there(stack: Stack, done: Any) -> None:
    job, _ = done
    assert job["state"] == "COMPLETED"
    assert job["tiles_completed"] == job["tiles_planned"] == 9
    (run,) = job["runs"]
    assert run["simulated"] is True
    assert run["metrics"]["gsd_mismatch"] is True
    rows = stack.rows(
        "select class_counts, confidence, valid_fraction, infer_ms, "
        "st_area(footprint) / 1e6 as km2, area_km2 from constellation.tiles where run_id = %s",
        run["id"],
    )
    assert len(rows) == 9
    assert sum(row["area_km2"] for row in rows) == pytest.approx(109.8 * 109.8, rel=0.02)
    for row in rows:
        assert row["km2"] == pytest.approx(row["area_km2"], rel=0.01)
        assert 0 <= row["valid_fraction"] <= 1


def test_events_tell_the_whole_story_in_order(done: Any) -> None:
    job, events = done
    types = [event["type"] for event in events if event["job_id"] == job["id"]]
    assert types[0] == "job.submitted"
    assert types[-1] == "job.completed"
    assert types.count("tile.completed") == 9
    started, first_tile = types.index("run.started"), types.index("tile.completed")
    assert types.index("run.queued") < started < first_tile < types.index("run.completed")
    ids = [event["id"] for event in events if event["job_id"] == job["id"]]
    assert ids == sorted(set(ids))


def test_the_file_holds_what_the_table_holds(stack: Stack, done: Any) -> None:
    run = done[0]["runs"][0]
    path = run["metrics"]["outputs"]["predictions"]
    frame = geopandas.read_parquet(path)
    assert frame.crs.to_epsg() in (None, 4326)
    rows = stack.rows(
        "select digest, area_km2 from constellation.tiles where run_id = %s order by digest",
        run["id"],
    )
    assert [row["digest"] for row in rows] == sorted(frame["digest"])
    query = "select count(*), sum(area_km2), bool_and(gsd_mismatch) from read_parquet(?)"
    counted = duckdb.execute(query, [path]).fetchone()
    assert counted is not None
    assert counted[0] == 9
    assert counted[1] == pytest.approx(sum(row["area_km2"] for row in rows))
    assert counted[2] is True


def test_the_class_raster_is_a_cog_on_the_grid_of_the_scene(sample_data: Path, done: Any) -> None:
    run = done[0]["runs"][0]
    path = run["metrics"]["outputs"]["classes"]
    valid, errors, _ = cog_validate(path)
    assert valid, errors
    with (
        rasterio.open(path) as raster,
        rasterio.open(sample_data / "scenes" / f"{LIBYA}.tif") as scene,
    ):
        assert (raster.crs, raster.transform, raster.shape) == (
            scene.crs,
            scene.transform,
            scene.shape,
        )
        classes = raster.read(1)
    assert set(np.unique(classes).tolist()) - {255} <= set(range(10))
    assert sum(run["metrics"]["class_counts"].values()) > 100


def test_dagster_shows_the_materialization_its_counts_and_its_picture(
    stack: Stack, done: Any
) -> None:
    run = done[0]["runs"][0]
    seen = stack.graphql(MATERIALIZATIONS, run=run["id"])["runOrError"]
    assert seen["status"] == "SUCCESS"
    by_asset = {event["assetKey"]["path"][0]: event for event in seen["assetMaterializations"]}
    assert set(by_asset) == {"predictions", "coverage"}
    entries = {entry["label"]: entry for entry in by_asset["predictions"]["metadataEntries"]}
    assert by_asset["predictions"]["partition"] == LIBYA
    assert entries["dagster/row_count"]["intValue"] == 9
    assert entries["simulated"]["boolValue"] is True
    assert "data:image/png;base64," in entries["preview"]["mdStr"]
    asset = {"path": ["predictions", "eurosat_landcover"]}
    checks = stack.graphql(CHECKS, asset=asset)["assetNodeOrError"]["assetChecksOrError"]["checks"]
    outcomes = {
        check["name"]: check["executionForLatestMaterialization"]["evaluation"]["success"]
        for check in checks
    }
    assert outcomes == {
        "every_tile_is_present": True,
        "files_match_the_database": True,
        "no_nan": True,
        "area_is_within_the_footprint": True,
    }


def test_the_next_job_takes_the_valid_tiles_as_they_are(stack: Stack, done: Any) -> None:
    job = stack.finished(stack.submit(LIBYA)["id"])
    assert (job["state"], job["tiles_reused"], job["tiles_completed"]) == ("COMPLETED", 9, 0)
    rasters = [run["metrics"]["outputs"]["classes"] for run in (done[0]["runs"][0], job["runs"][0])]
    with rasterio.open(rasters[0]) as first, rasterio.open(rasters[1]) as second:
        assert np.array_equal(first.read(1), second.read(1)), "a reused tile is in the map as well"
    before = stack.rows("select count(*) as n from constellation.tiles")
    again = stack.finished(stack.submit(LIBYA, reuse=False)["id"])
    assert (again["tiles_reused"], again["tiles_completed"]) == (0, 9)
    assert stack.rows("select count(*) as n from constellation.tiles") == before


def test_a_materialization_from_dagsters_ui_shows_up_as_a_job(stack: Stack, done: Any) -> None:
    location = stack.graphql(
        "{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } } }"
    )["repositoriesOrError"]["nodes"][0]["location"]["name"]
    op = "predictions__eurosat_landcover"
    params = {
        "selector": {
            "repositoryLocationName": location,
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": ["predictions", "eurosat_landcover"]}],
        },
        "runConfigData": {"ops": {op: {"config": {"accept_gsd_mismatch": True, "reuse": False}}}},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": LIBYA}]},
    }
    reply = stack.graphql(LAUNCH, p=params)["launchRun"]
    assert reply["__typename"] == "LaunchRunSuccess", reply
    run_id = reply["run"]["runId"]
    run = stack.wait(
        lambda: stack.http.get(f"/runs/{run_id}").json(),
        lambda run: run.get("state") in ("COMPLETED", "FAILED"),
    )
    assert run["state"] == "COMPLETED", run
    job = stack.job(run["job_id"])
    assert (job["origin"], job["state"]) == ("dagster", "COMPLETED")
    assert job["name"] == f"predictions/eurosat_landcover on {LIBYA}"
    assert job["params"]["scenes"] == [LIBYA]
    assert job["tiles_completed"] == 9
