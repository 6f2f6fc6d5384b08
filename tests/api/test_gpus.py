"""What devices do, over HTTP and the stream: the latest sample, the last hour, who holds them."""

import asyncio
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from websockets.sync.client import ClientConnection, connect

from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.events import streams, subjects
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.telemetry import sample_to_json
from tests.api.service import Service, serving
from tests.api.test_jobs import problem_of, submit

GPU = """
insert into constellation.gpus
       (id, uuid, host, idx, name, total_mem_mb, simulated, worker_id, slots)
values (%(gpu)s, %(uuid)s, 'h', 0, 'CPU', 8000, true, %(worker)s, 2)
"""
LEASE = """
insert into constellation.leases
       (fence, gpu_id, worker_id, run_id, account, slot, acquired_at, expires_at)
values (nextval('constellation.fence'), %(gpu)s, %(worker)s, %(run)s, 'local', %(slot)s,
        now() - %(for)s * interval '1 min', now() + interval '1 min')
"""


def device(database: Database) -> str:
    """A new device of a live worker; its uuid."""
    uuid, worker = f"SIM-{uuid4()}", new_id()
    database.execute(
        "insert into constellation.workers (id, host, pid) values (%s, 'h', 1)", (worker,)
    )
    database.execute(GPU, {"gpu": new_id(), "uuid": uuid, "worker": worker})
    return uuid


def sample(uuid: str, age_s: float = 0, **told: Any) -> Sample:
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    figures = {"utilisation_pct": 12.5, "mem_used_mb": 800, "temperature_c": 61.0, "power_w": 212.5}
    return Sample(uuid, at, simulated=True, **(figures | told))


def tell(nats_url: str, samples: Iterable[Sample]) -> None:
    """Samples as workers tell them, all at once."""

    async def work() -> None:
        bus = Bus(nats_url)
        await bus.connect()
        await bus.ensure(streams.SAMPLES)
        for one in samples:
            await bus.tell(subjects.of_sample(one.device_uuid), sample_to_json(one))
        await bus.flush()
        await bus.close()

    asyncio.run(work())


def hear(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """Envelopes up to the first frame that has one of this kind."""
    found: list[dict[str, Any]] = []
    while not any(one["type"] == kind for one in found):
        found += json.loads(socket.recv(timeout=60))
    return found


def until_told(service: Service, uuid: str) -> dict[str, Any]:
    """The device once its sample has come."""
    for _ in range(1200):
        (found,) = [one for one in service.http.get("/gpus").json()["items"] if one["uuid"] == uuid]
        if found["sample"] is not None:
            return dict(found)
        time.sleep(0.05)
    raise AssertionError("no sample came")


def test_a_device_tells_what_it_does_now(service: Service, nats_url: str) -> None:
    uuid = device(service.database)
    tell(nats_url, [sample(uuid)])
    shown = until_told(service, uuid)
    assert shown["simulated"] is True
    assert shown["sample"].pop("at")
    assert shown["sample"] == {
        "utilisation_pct": 12.5,
        "mem_used_mb": 800,
        "temperature_c": 61.0,
        "power_w": 212.5,
    }


def test_an_old_sample_says_nothing_of_now(service: Service, nats_url: str) -> None:
    old, new = device(service.database), device(service.database)
    tell(nats_url, [sample(old, age_s=60), sample(new)])
    until_told(service, new)
    (shown,) = [one for one in service.http.get("/gpus").json()["items"] if one["uuid"] == old]
    assert shown["sample"] is None
    assert len(service.http.get(f"/gpus/{old}/samples").json()["items"]) == 1


def test_the_last_hour_is_there_for_a_graph_also_after_a_new_start(
    service: Service, module_database_url: str, nats_url: str, tmp_path: Path
) -> None:
    uuid = device(service.database)
    ages_s = (4000, 3500, 900, 120, 3, 2, 1, 0)
    tell(nats_url, [sample(uuid, age_s=age, utilisation_pct=float(age)) for age in ages_s])
    until_told(service, uuid)
    with serving(module_database_url, nats_url, tmp_path) as anew:
        until_told(anew, uuid)
        for one in (service, anew):
            told = one.http.get(f"/gpus/{uuid}/samples").json()
            assert (told["uuid"], told["simulated"]) == (uuid, True)
            ages = [item["utilisation_pct"] for item in told["items"]]
            assert ages == [3500, 900, 120, 3, 2, 1, 0], "those of the last hour, oldest first"
            params = {"seconds": 1000, "step_s": 60}
            few = one.http.get(f"/gpus/{uuid}/samples", params=params).json()["items"]
            assert [item["utilisation_pct"] for item in few][:2] == [900, 120]
            assert len(few) in (3, 4), "one a minute: the last ones lie in one or two"


def test_a_device_that_was_never_seen_has_no_samples(service: Service) -> None:
    problem_of(service.http.get("/gpus/nowhere/samples"), 404)


def test_a_socket_hears_the_samples_of_all_devices_as_they_are_told(
    service: Service, nats_url: str
) -> None:
    uuids = [device(service.database) for _ in range(16)]
    with connect(f"{service.websocket_url}?topics=none") as socket:
        socket.send(json.dumps({"subscribe": ["gpus"]}))
        hear(socket, "stream.subscribed")
        told: dict[str, list[float]] = {uuid: [] for uuid in uuids}
        for second in range(3):
            tell(nats_url, [sample(uuid, utilisation_pct=float(second)) for uuid in uuids])
        while any(len(one) < 3 for one in told.values()):
            for envelope in hear(socket, "gpu.sample"):
                assert (envelope["id"], envelope["job_id"], envelope["run_id"]) == (None,) * 3
                payload = envelope["payload"]
                if payload["device_uuid"] in told:
                    assert payload["simulated"] is True
                    assert payload["power_w"] == 212.5
                    told[payload["device_uuid"]].append(payload["utilisation_pct"])
    assert set(map(tuple, told.values())) == {(0.0, 1.0, 2.0)}


def test_a_socket_that_did_not_ask_hears_of_no_device(service: Service, nats_url: str) -> None:
    with connect(service.websocket_url) as socket:
        hear(socket, "stream.subscribed")
        tell(nats_url, [sample(device(service.database))])
        with pytest.raises(TimeoutError):
            socket.recv(timeout=1)


def test_a_shared_device_tells_who_holds_it_and_since_when(service: Service, scene: str) -> None:
    uuid = device(service.database)
    row = service.database.fetch_one(
        "select id, worker_id from constellation.gpus where uuid = %s", (uuid,)
    )
    assert row is not None
    held = {}
    for slot, minutes in enumerate((5, 50)):
        job = submit(service.http, scene)["id"]
        run = UUID(service.http.get(f"/jobs/{job}").json()["runs"][0]["id"])
        about = {"gpu": row["id"], "worker": row["worker_id"], "slot": slot, "for": minutes}
        service.database.execute(LEASE, about | {"run": run})
        held[minutes] = (str(run), job)
    (shown,) = [one for one in service.http.get("/gpus").json()["items"] if one["uuid"] == uuid]
    assert [(one["run_id"], one["job_id"]) for one in shown["holders"]] == [held[50], held[5]]
    assert {one["account"] for one in shown["holders"]} == {"local"}
    since = [datetime.fromisoformat(one["acquired_at"]) for one in shown["holders"]]
    assert since[1] - since[0] == pytest.approx(timedelta(minutes=45), abs=timedelta(minutes=5))
    assert shown["held_by"] == shown["holders"][0]
    assert shown["runs"] == 2
