"""A job on a scene behind a URL, through the whole stack: equal to that of the file itself."""

from pathlib import Path

import rasterio

from tests.e2e.conftest import Stack
from tests.e2e.fleet.conftest import FAR_SCENE
from tests.remote.range_server import RangeServer, reply

BANDS = ["red", "green", "blue", "nir"]

EVER_LEASED = "select count(*) as n from constellation.leases where run_id = %s"
COUNTS = """
select row_off_px, col_off_px, class_counts from constellation.tiles
 where job_id = %s order by 1, 2
"""


def test_a_remote_scene_gives_the_result_of_the_file_and_holds_no_device_while_its_host_is_away(
    fleet: Stack, far_server: RangeServer, sample_data: Path
) -> None:
    stack, server = fleet, far_server
    far = stack.http.post("/scenes", json={"url": server.url("/far.tif"), "bands": BANDS})
    assert far.status_code == 201, far.text
    here = stack.register(sample_data / "scenes" / f"{FAR_SCENE}.tif")
    assert far.json()["footprint"] == here["footprint"]

    # The host is away: the run waits for its pixels, says so, and no device is leased.
    server.fault = lambda handler, _: reply(handler, 503)
    job = stack.submit("far", accept_gsd_mismatch=True)

    def reason() -> str:
        waiting = stack.job(job["id"])["runs"][0]["waiting"]
        return "" if waiting is None else f"{waiting['code']}: {waiting['reason']}"

    said = stack.wait(reason, lambda said: "answers 503" in said)
    assert said.startswith("staging: ")
    assert server.url("/far.tif") in said
    assert stack.rows(EVER_LEASED, stack.job(job["id"])["runs"][0]["id"])[0]["n"] == 0

    # It is back: the run goes on by itself.
    server.fault = None
    ended = stack.finished(job["id"])
    assert ended["state"] == "COMPLETED", ended
    near = stack.finished(stack.submit(here["key"], accept_gsd_mismatch=True)["id"])
    assert near["state"] == "COMPLETED", near
    rasters = []
    for done in (ended, near):
        (run,) = done["runs"]
        assert run["tiles_failed"] == 0
        with rasterio.open(run["metrics"]["outputs"]["classes"]) as raster:
            rasters.append(raster.read())
    assert (rasters[0] == rasters[1]).all()
    assert stack.rows(COUNTS, ended["id"]) == stack.rows(COUNTS, near["id"])

    # An object that changes under its URL fails its next run with a clear reason.
    data = server.objects["/far.tif"]
    server.objects["/far.tif"] = data[:-1] + bytes([data[-1] ^ 1])
    for folder in (stack.data_dir / "staging").iterdir():
        (folder / "about.json").unlink()
    changed = stack.finished(stack.submit("far", reuse=False)["id"])
    assert changed["state"] == "FAILED"
    changed_words = f"{server.url('/far.tif')} has changed since it was registered"
    assert changed["runs"][0]["error"].startswith(changed_words)
