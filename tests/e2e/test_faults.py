"""Processes that are killed, and jobs that are cancelled, while they work."""

import os
import signal
import time
from typing import Any

import psutil

from tests.e2e.conftest import Stack

HELD = "select pid, attempt from constellation.run_queue where run_id = %s and state = 'leased'"
LIVE_LEASES = "select count(*) as n from constellation.leases where released_at is null"


def working(stack: Stack, job_id: str) -> dict[str, Any]:
    """The job once it has tiles, and still more to do."""
    return dict(
        stack.wait(lambda: stack.job(job_id), lambda job: job["tiles_completed"] > 0, timeout_s=60)
    )


def tile_counts(stack: Stack, run_id: str) -> dict[str, int]:
    """Tiles of a run, and different windows among them."""
    (row,) = stack.rows(
        "select count(*) as tiles, count(distinct (row_off_px, col_off_px)) as windows "
        "from constellation.tiles where run_id = %s and state = 'COMPLETED'",
        run_id,
    )
    return row


def test_a_cancelled_job_stops_soon_and_frees_its_device(stack: Stack, large_scene: str) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    assert job["state"] == "RUNNING"
    asked_at = time.monotonic()
    assert stack.http.post(f"/jobs/{job['id']}/cancel").status_code in (200, 202)
    ended = stack.finished(job["id"])
    stack.wait(lambda: stack.rows(LIVE_LEASES), lambda rows: rows == [{"n": 0}])
    took_s = time.monotonic() - asked_at
    assert ended["state"] == "CANCELLED"
    assert ended["tiles_completed"] < ended["tiles_planned"]
    assert took_s < 10, "the promise is 2 s on a quiet machine"


def test_a_killed_run_goes_on_and_writes_each_tile_once(stack: Stack, large_scene: str) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    run_id = job["runs"][0]["id"]
    (held,) = stack.rows(HELD, run_id)
    assert "constellation" in " ".join(psutil.Process(held["pid"]).cmdline())
    os.kill(held["pid"], signal.SIGKILL)
    ended = stack.finished(job["id"])
    assert ended["state"] == "COMPLETED"
    assert ended["runs"][0]["attempt"] == 2
    planned = ended["tiles_planned"]
    assert tile_counts(stack, run_id) == {"tiles": planned, "windows": planned}
    stack.wait(lambda: stack.rows(LIVE_LEASES), lambda rows: rows == [{"n": 0}], timeout_s=10)


def test_a_killed_engine_comes_back_and_the_run_goes_on(stack: Stack, large_scene: str) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    run_id = job["runs"][0]["id"]
    engine_of(stack).kill()
    ended = stack.finished(job["id"])
    assert ended["state"] == "COMPLETED", ended["error"]
    planned = ended["tiles_planned"]
    assert tile_counts(stack, run_id) == {"tiles": planned, "windows": planned}


def engine_of(stack: Stack) -> psutil.Process:
    """The engine process below this stack's worker."""
    (worker,) = stack.rows("select pid from constellation.workers where stopped_at is null")
    children = psutil.Process(worker["pid"]).children(recursive=True)
    (engine,) = [c for c in children if "inference.engine" in " ".join(c.cmdline())]
    return engine
