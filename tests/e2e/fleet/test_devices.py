"""Four simulated devices under a whole stack, one of which fails while a run works on it."""

import json
import os
from typing import Any

from constellation_pipelines.demo.scenes import generate
from tests.e2e.conftest import Stack


def tell(stack: Stack, **devices: Any) -> None:
    """Change the simulation file as a person would, in one step."""
    draft = stack.data_dir / "simulation.draft"
    draft.write_text(json.dumps({"devices": {key.strip("_"): devices[key] for key in devices}}))
    os.replace(draft, stack.data_dir / "simulation.json")


def gpus(stack: Stack) -> list[dict[str, Any]]:
    return list(stack.http.get("/gpus").raise_for_status().json()["items"])


def ready(stack: Stack) -> int:
    return sum(gpu["engine_ready"] for gpu in gpus(stack))


def test_a_run_leaves_a_device_that_fails_and_the_device_returns_after_a_clean_probe(
    fleet: Stack,
) -> None:
    assert [gpu["simulated"] for gpu in gpus(fleet)] == [True] * 4
    fleet.wait(lambda: ready(fleet), lambda count: count == 4, timeout_s=90)
    tell(fleet, _0={"slow_ms": 50})
    folder = fleet.data_dir / "scenes"
    folder.mkdir(exist_ok=True)
    scene = fleet.register(generate(folder / "large.tif", 4096))["key"]
    job_id = fleet.submit(scene)["id"]
    job = fleet.wait(lambda: fleet.job(job_id), lambda job: job["tiles_completed"] > 0)
    first = job["runs"][0]["device_uuid"]
    assert first == gpus(fleet)[0]["uuid"]

    tell(fleet, _0={"slow_ms": 50, "xids": [{"serial": 1, "number": 79}]})
    bad = fleet.wait(lambda: gpus(fleet)[0], lambda gpu: gpu["health"] == "quarantined")
    assert "fallen off the bus" in bad["health_reason"]
    ended = fleet.finished(job_id)
    assert ended["state"] == "COMPLETED", ended["error"]
    assert ended["tiles_completed"] == ended["tiles_planned"]
    assert ended["runs"][0]["attempt"] == 1, "it is not the run's fault"
    assert ended["runs"][0]["device_uuid"] != first
    well = fleet.wait(lambda: gpus(fleet)[0], lambda gpu: gpu["engine_ready"], timeout_s=90)
    assert well["health"] == "ok"
    decisions = [fault["decision"] for fault in well["faults"]]
    assert decisions[0] == "readmit_device"
    assert {"quarantine_device", "move"} <= set(decisions)
