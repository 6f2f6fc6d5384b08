"""What the devices of a running stack do, as it happens and afterwards."""

import json
from datetime import datetime
from itertools import pairwise
from typing import Any

from websockets.sync.client import connect

from tests.e2e.conftest import Stack


def test_a_device_tells_each_second_what_it_does(stack: Stack) -> None:
    (gpu,) = stack.http.get("/gpus").json()["items"]
    url = stack.urls["api"].replace("http", "ws", 1) + "/api/v1/stream?topics=none"
    told: list[dict[str, Any]] = []
    with connect(url) as socket:
        socket.send(json.dumps({"subscribe": ["gpus"]}))
        while len(told) < 4:
            heard = json.loads(socket.recv(timeout=60))
            told += [one for one in heard if one["type"] == "gpu.sample"]
    payloads = [one["payload"] for one in told]
    assert {(one["device_uuid"], one["simulated"]) for one in payloads} == {(gpu["uuid"], True)}
    assert all(one["mem_used_mb"] > 0 for one in payloads)
    at = [datetime.fromisoformat(one["at"]) for one in told]
    apart_s = [(later - one).total_seconds() for one, later in pairwise(at)]
    assert min(apart_s) > 0.9, "one a second, or fewer where the machine is busy"
    kept = stack.http.get(f"/gpus/{gpu['uuid']}/samples", params={"seconds": 600}).json()["items"]
    assert {moment.isoformat() for moment in at} <= {
        datetime.fromisoformat(one["at"]).isoformat() for one in kept
    }
    assert f"{gpu['host']}/{gpu['index']}" in stack.command("gpus")
    assert len(stack.command("samples", str(gpu["index"])).splitlines()) > 4
