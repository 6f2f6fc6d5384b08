"""Processes that are killed, and jobs that are cancelled, while they work."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import rasterio

from constellation_pipelines.lake import predictions
from constellation_pipelines.stack import status
from tests.e2e.conftest import Stack

HELD = "select pid, attempt from constellation.run_queue where run_id = %s and state = 'leased'"
TILES_OF_JOB = "select digest, created_at from constellation.tiles where job_id = %s"
TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"
UNPUBLISHED = (
    "select count(*) as n from constellation.events where job_id = %s and published_at is null"
)
FAULTS = "select kind, decision from constellation.faults where run_id = %s order by at"
GOING_ON = (
    "select event from dagster.event_logs where run_id = %s::text "
    "and event like '%%Going on: attempt 2%%'"
)
LIVE_WORKER = "select pid from constellation.workers where stopped_at is null"
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


def by_api(stack: Stack, job: dict[str, Any]) -> None:
    assert stack.http.post(f"/jobs/{job['id']}/cancel").status_code in (200, 202)


def by_command(stack: Stack, job: dict[str, Any]) -> None:
    stack.command("jobs", "cancel", job["id"])


def by_dagster(stack: Stack, job: dict[str, Any]) -> None:
    reply = stack.graphql(TERMINATE, run=job["runs"][0]["id"])
    assert reply["terminateRun"]["__typename"] == "TerminateRunSuccess", reply


@pytest.mark.parametrize("cancel", [by_api, by_command, by_dagster])
def test_a_cancelled_job_stops_soon_and_frees_its_device(
    stack: Stack, large_scene: str, cancel: Callable[[Stack, dict[str, Any]], None]
) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    assert job["state"] == "RUNNING"
    asked_at = time.monotonic()
    cancel(stack, job)
    ended = stack.finished(job["id"])
    stack.wait(lambda: stack.rows(LIVE_LEASES), lambda rows: rows == [{"n": 0}])
    print(f"{cancel.__name__}: cancelled and free after {time.monotonic() - asked_at:.2f} s")
    assert ended["state"] == "CANCELLED"
    assert ended["tiles_completed"] < ended["tiles_planned"]


def test_a_run_that_hears_no_signal_is_cancelled_all_the_same(
    stack: Stack, large_scene: str
) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    (held,) = stack.rows(HELD, job["runs"][0]["id"])
    os.kill(held["pid"], signal.SIGSTOP)
    asked_at = time.monotonic()
    by_api(stack, job)
    assert stack.finished(job["id"])["state"] == "CANCELLED"
    stack.wait(lambda: stack.rows(LIVE_LEASES), lambda rows: rows == [{"n": 0}])
    print(f"a stopped run: cancelled and free after {time.monotonic() - asked_at:.2f} s")
    assert not psutil.pid_exists(held["pid"])


def test_a_waiting_run_is_cancelled_at_once(stack: Stack, large_scene: str) -> None:
    running = working(stack, stack.submit(large_scene, reuse=False)["id"])
    second = stack.submit(large_scene, reuse=False)  # it may share the device, a third may not
    waiting = stack.submit(large_scene, reuse=False)
    stack.wait(lambda: stack.job(waiting["id"]), lambda job: job["runs"][0]["state"] == "QUEUED")
    asked_at = time.monotonic()
    by_api(stack, waiting)
    assert stack.finished(waiting["id"])["state"] == "CANCELLED"
    print(f"a waiting run: cancelled after {time.monotonic() - asked_at:.2f} s")
    assert stack.job(running["id"])["state"] == "RUNNING"
    for job in (second, running):
        by_api(stack, job)
        stack.finished(job["id"])


def test_a_retry_computes_only_what_is_missing(stack: Stack, large_scene: str) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    by_api(stack, job)
    before = stack.finished(job["id"])
    kept = {tile["digest"]: tile["created_at"] for tile in stack.rows(TILES_OF_JOB, job["id"])}
    assert 0 < len(kept) < before["tiles_planned"]
    assert stack.http.post(f"/jobs/{job['id']}/retry").status_code == 202
    ended = stack.finished(job["id"])
    planned = ended["tiles_planned"]
    assert (ended["state"], ended["tiles_completed"]) == ("COMPLETED", planned)
    tiles = {tile["digest"]: tile["created_at"] for tile in stack.rows(TILES_OF_JOB, job["id"])}
    assert len(tiles) == planned
    assert {digest: tiles[digest] for digest in kept} == kept, "what was done was done again"
    (run,) = ended["runs"][-1:]
    assert tile_counts(stack, run["id"]) == {"tiles": planned, "windows": planned}
    outputs = run["metrics"]["outputs"]
    assert predictions.count(Path(outputs["predictions"])) == planned
    with rasterio.open(outputs["classes"]) as raster:
        assert (raster.read(1) != raster.nodata).all(), "some tiles have no pixels"
    work = stack.data_dir / "lake" / "work"
    assert not any((work / f"{run['id']}.classes").exists() for run in ended["runs"])


def test_a_killed_run_goes_on_and_writes_each_tile_once(stack: Stack, large_scene: str) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    run_id = job["runs"][0]["id"]
    (held,) = stack.rows(HELD, run_id)
    assert "constellation" in " ".join(psutil.Process(held["pid"]).cmdline())
    os.kill(held["pid"], signal.SIGKILL)
    ended = stack.finished(job["id"])
    assert ended["state"] == "COMPLETED"
    assert ended["runs"][0]["attempt"] == 2
    assert stack.rows(FAULTS, run_id) == [{"kind": "process", "decision": "resume"}]
    (told,) = stack.wait(lambda: stack.rows(GOING_ON, run_id), bool)
    assert "was ended by SIGKILL" in told["event"]
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


@pytest.mark.parametrize("restart", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_restart_of_the_database_costs_no_run(
    stack: Stack, large_scene: str, restart: signal.Signals
) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    os.kill(postmaster_of(stack), restart)
    stack.wait(lambda: answers(stack), bool)
    ended = stack.finished(job["id"])
    assert ended["state"] == "COMPLETED", ended["error"]
    planned = ended["tiles_planned"]
    run_id = ended["runs"][0]["id"]
    assert ended["tiles_completed"] == planned
    assert tile_counts(stack, run_id) == {"tiles": planned, "windows": planned}
    stack.wait(lambda: stack.rows(LIVE_LEASES), lambda rows: rows == [{"n": 0}])


def test_an_outage_of_nats_costs_no_job_and_its_events_follow(
    stack: Stack, large_scene: str
) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    running = status.read(stack.data_dir)
    assert running is not None
    (nats,) = [service.process for service in running.services if service.name == "nats"]
    assert nats is not None
    os.kill(nats.pid, signal.SIGKILL)
    assert stack.finished(job["id"])["state"] == "COMPLETED"
    stack.wait(lambda: stack.rows(UNPUBLISHED, job["id"]), lambda rows: rows == [{"n": 0}])


def test_a_killed_worker_is_replaced_and_its_run_goes_on(stack: Stack, large_scene: str) -> None:
    job = working(stack, stack.submit(large_scene, reuse=False)["id"])
    run_id = job["runs"][0]["id"]
    (worker,) = stack.rows(LIVE_WORKER)
    family = psutil.Process(worker["pid"]).children(recursive=True)
    os.kill(worker["pid"], signal.SIGKILL)
    killed_at = time.monotonic()
    fault = "select message from constellation.faults where run_id = %s and kind = 'worker'"
    stack.wait(lambda: stack.rows(fault, run_id), bool)
    print(f"a killed worker: noticed after {time.monotonic() - killed_at:.2f} s")
    (_, alive) = psutil.wait_procs(family, timeout=60)
    assert alive == []
    stack.wait(lambda: stack.rows(HELD, run_id), lambda rows: bool(rows and rows[0]["pid"]))
    print(
        f"a killed worker: its run has a process again after {time.monotonic() - killed_at:.2f} s"
    )
    ended = stack.finished(job["id"])
    assert (ended["state"], ended["runs"][0]["attempt"]) == ("COMPLETED", 1)
    planned = ended["tiles_planned"]
    assert tile_counts(stack, run_id) == {"tiles": planned, "windows": planned}


def test_a_second_worker_on_the_host_is_refused(stack: Stack) -> None:
    refused = stack.run("worker")
    (worker,) = stack.rows(LIVE_WORKER)
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        f"error: worker {worker['pid']} serves this host already: stop it before you start another "
        "one"
    )


def postmaster_of(stack: Stack) -> int:
    """Process number of the stack's PostgreSQL server."""
    with psycopg.connect(stack.urls["database"]) as connection:
        parent = psutil.Process(connection.info.backend_pid).parent()
    assert parent is not None
    return parent.pid


def answers(stack: Stack) -> bool:
    try:
        return bool(stack.rows("select 1"))
    except psycopg.OperationalError:
        return False


def engine_of(stack: Stack) -> psutil.Process:
    """The engine process below this stack's worker."""
    (worker,) = stack.rows(LIVE_WORKER)
    children = psutil.Process(worker["pid"]).children(recursive=True)
    (engine,) = [c for c in children if "inference.engine" in " ".join(c.cmdline())]
    return engine
