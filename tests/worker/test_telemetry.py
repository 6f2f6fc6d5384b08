"""Lines of runs and samples of devices reach NATS, through outages and restarts."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import nats
import pytest

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.events import streams, subjects
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.telemetry import Telemetry
from tests.store import test_queue as queued

DEVICE = Device("SIM-1", 0, "Simulated GPU (processor)", 1000, None, simulated=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNats]:
    with EmbeddedNats(tmp_path_factory.mktemp("nats")) as running:
        yield running
    running.remove()


@contextmanager
def telling(database: Database, url: str, logs: Path) -> Iterator[Telemetry]:
    def sample(uuid: str) -> Sample:
        return Sample(uuid, datetime.now(UTC), simulated=True, utilisation_pct=12.5)

    telemetry = Telemetry(Bus(url), database, logs, [DEVICE], sample, "host")
    telemetry.start()
    try:
        yield telemetry
    finally:
        telemetry.stop()


def printed(logs: Path, run_id: UUID, text: str) -> None:
    path = logs / str(run_id) / "compute_logs" / "step.out"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


async def kept(url: str, stream: str, subject: str) -> list[dict[str, Any]]:
    client = await nats.connect(url)
    try:
        info = await client.jsm().stream_info(stream, subjects_filter=subject)
        count = sum((info.state.subjects or {}).values())
        subscription = await client.jetstream().subscribe(subject, ordered_consumer=True)
        return [json.loads((await subscription.next_msg(5)).data) for _ in range(count)]
    finally:
        await client.close()


def lines(url: str, run_id: UUID) -> list[str]:
    found = asyncio.run(kept(url, streams.LOGS_NAME, f"constellation.*.logs.*.{run_id}"))
    return [line["payload"]["text"] for line in found]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_lines_of_a_run_are_kept_for_its_job(
    database: Database, server: EmbeddedNats, tmp_path: Path
) -> None:
    run_id = queued.run(database)
    with telling(database, server.url, tmp_path) as telemetry:
        telemetry.follow(run_id)
        printed(tmp_path, run_id, "one\ntwo\n")
        until(lambda: lines_or_none(server.url, run_id) == ["one", "two"])
        printed(tmp_path, run_id, "three\nwithout an end")
        telemetry.ended(run_id)
        until(lambda: len(lines(server.url, run_id)) == 4)
    row = database.fetch_one(
        "select r.job_id, j.submitted_by from constellation.runs r "
        "join constellation.jobs j on j.id = r.job_id where r.id = %s",
        (run_id,),
    )
    assert row is not None
    subject = subjects.of_logs(row["submitted_by"], row["job_id"], run_id)
    found = asyncio.run(kept(server.url, streams.LOGS_NAME, subject))
    assert [line["payload"]["text"] for line in found][2:] == ["three", "without an end"]
    assert {line["job_id"] for line in found} == {str(row["job_id"])}


def lines_or_none(url: str, run_id: UUID) -> list[str] | None:
    try:
        return lines(url, run_id)
    except nats.errors.Error:  # the stream is not there yet
        return None


def test_what_a_stopped_worker_left_is_told_by_the_next_one_and_nothing_twice(
    database: Database, server: EmbeddedNats, tmp_path: Path
) -> None:
    run_id = queued.run(database)
    with telling(database, server.url, tmp_path) as telemetry:
        telemetry.follow(run_id)
        printed(tmp_path, run_id, "one\n")
        until(lambda: lines_or_none(server.url, run_id) == ["one"])
        state = tmp_path / str(run_id) / "tail.json"
        open_state = state.read_text()
    printed(tmp_path, run_id, "two\n")
    state.write_text(open_state)  # as a killed worker leaves it
    with telling(database, server.url, tmp_path):
        until(lambda: lines(server.url, run_id) == ["one", "two"])


def test_lines_wait_for_a_nats_that_is_away(
    database: Database, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = EmbeddedNats(tmp_path_factory.mktemp("away"))
    run_id = queued.run(database)
    try:
        with own, telling(database, own.url, tmp_path) as telemetry:
            telemetry.follow(run_id)
            printed(tmp_path, run_id, "one\n")
            until(lambda: lines_or_none(own.url, run_id) == ["one"])
            own.stop()
            printed(tmp_path, run_id, "two\n")
            time.sleep(0.5)
            own.start()
            until(lambda: lines_or_none(own.url, run_id) == ["one", "two"])
    finally:
        own.remove()


def test_samples_are_told_each_second_and_say_that_they_are_simulated(
    database: Database, server: EmbeddedNats, tmp_path: Path
) -> None:
    subject = subjects.of_sample(DEVICE.uuid)
    with telling(database, server.url, tmp_path):
        until(lambda: len(samples_or_none(server.url, subject) or []) >= 2)
    first, second, *_ = samples_or_none(server.url, subject) or []
    assert first["simulated"] is True
    assert first["utilisation_pct"] == 12.5
    assert first["at"] < second["at"]


def samples_or_none(url: str, subject: str) -> list[dict[str, Any]] | None:
    try:
        return asyncio.run(kept(url, streams.SAMPLES_NAME, subject))
    except nats.errors.Error:
        return None
