"""A job's log as server-sent events."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import nats
import pytest

from constellation_pipelines.events import streams, subjects
from constellation_pipelines.events.bus import Bus, Stored
from tests.api.service import Service, relaying
from tests.api.test_jobs import set_runs, submit


@pytest.fixture(scope="module", autouse=True)
def relay(service: Service, module_database_url: str, nats_url: str) -> Iterator[None]:
    with relaying(module_database_url, nats_url):
        yield


@pytest.fixture
def job(service: Service, scene: str) -> UUID:
    return UUID(submit(service.http, scene)["id"])


def say(nats_url: str, job: UUID, first: int, count: int, account: str = "local") -> None:
    """Lines as a worker tells them."""

    async def tell() -> None:
        bus = Bus(nats_url)
        await bus.connect()
        await bus.ensure(streams.LOGS)
        run = uuid4()
        said = [
            Stored(
                f"{run}.{n}",
                subjects.of_logs(account, job, run),
                json.dumps(
                    {
                        "type": "log.line",
                        "at": "2026-11-25T00:00:00+00:00",
                        "job_id": str(job),
                        "run_id": str(run),
                        "payload": {"stream": "log", "level": "INFO", "text": f"line {n}"},
                    }
                ).encode(),
            )
            for n in range(first, first + count)
        ]
        assert await bus.store(said) == count
        await bus.close()

    asyncio.run(tell())


def finish(service: Service, job: UUID) -> None:
    set_runs(service, str(job), "COMPLETED")


def follow(service: Service, job: UUID, **options: Any) -> Iterator[tuple[str, int | None, Any]]:
    """Event, id and data of each message."""
    with service.http.stream("GET", f"/jobs/{job}/logs", **options) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                id = int(fields["id"]) if "id" in fields else None
                yield fields["event"], id, json.loads(fields["data"])
                fields = {}


def texts(found: list[tuple[str, int | None, Any]]) -> list[str]:
    return [data["payload"]["text"] for event, _, data in found if event == "line"]


def lines(first: int, count: int) -> list[str]:
    return [f"line {n}" for n in range(first, first + count)]


def test_a_log_comes_from_its_first_line_to_its_live_tail_and_ends_with_the_job(
    service: Service, nats_url: str, job: UUID
) -> None:
    say(nats_url, job, 0, 1200)
    found = []
    for message in follow(service, job):
        found.append(message)
        if len(found) == 1200:
            threading.Thread(target=say, args=(nats_url, job, 1200, 10)).start()
        if len(found) == 1210:
            finish(service, job)
    assert found[-1][0] == "end"
    assert texts(found) == lines(0, 1210)
    ids = [id or 0 for _, id, _ in found[:-1]]
    assert ids == sorted(set(ids))


def test_a_reader_resumes_behind_the_last_line_that_came(
    service: Service, nats_url: str, job: UUID
) -> None:
    say(nats_url, job, 0, 20)
    first = []
    for message in follow(service, job):
        first.append(message)
        if len(first) == 7:
            break
    say(nats_url, job, 20, 5)
    finish(service, job)
    rest = list(follow(service, job, headers={"Last-Event-ID": str(first[-1][1])}))
    assert texts(first + rest) == lines(0, 25)


def test_readers_come_and_go_while_lines_are_told_and_miss_none(
    service: Service, nats_url: str, job: UUID
) -> None:
    def tell() -> None:
        for first in range(0, 400, 20):
            say(nats_url, job, first, 20)
        finish(service, job)

    teller = threading.Thread(target=tell)
    teller.start()
    found: list[tuple[str, int | None, Any]] = []
    ended = False
    while not ended:
        last = next((id for _, id, _ in reversed(found) if id is not None), 0)
        for count, message in enumerate(
            follow(service, job, headers={"Last-Event-ID": str(last)}), 1
        ):
            found.append(message)
            ended = message[0] == "end"
            if count == 70:
                break
    teller.join()
    assert texts(found) == lines(0, 400)


def test_a_job_without_lines_ends_at_once_when_it_is_not_followed(
    service: Service, job: UUID
) -> None:
    assert [event for event, _, _ in follow(service, job, params={"follow": False})] == ["end"]


def test_lines_of_another_job_do_not_come(service: Service, nats_url: str, job: UUID) -> None:
    say(nats_url, uuid4(), 0, 5)
    say(nats_url, job, 0, 2)
    assert texts(list(follow(service, job, params={"follow": False}))) == lines(0, 2)


def test_an_id_of_a_stream_that_is_lost_starts_anew(
    service: Service, nats_url: str, job: UUID
) -> None:
    say(nats_url, job, 0, 3)
    finish(service, job)
    found = list(follow(service, job, headers={"Last-Event-ID": str(2**63 - 1)}))
    assert texts(found) == lines(0, 3)
    assert found[-1][0] == "end"


@pytest.mark.parametrize("last", ["-1", "x", "1e3", str(2**63), "1\t2"])
def test_an_id_that_is_none_is_refused(service: Service, job: UUID, last: str) -> None:
    response = service.http.get(f"/jobs/{job}/logs", headers={"Last-Event-ID": last})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


def test_a_job_that_is_not_there_has_no_log(service: Service) -> None:
    assert service.http.get(f"/jobs/{uuid4()}/logs").status_code == 404


def test_what_is_no_line_is_passed_over(service: Service, nats_url: str, job: UUID) -> None:
    async def rubbish() -> None:
        client = await nats.connect(nats_url)
        for data in (b"", b"\xff", b"[]", b'{"job_id": 5}', b"[" * 5000):
            await client.jetstream().publish(subjects.of_logs("local", job, uuid4()), data)
        await client.close()

    say(nats_url, job, 0, 1)
    asyncio.run(rubbish())
    say(nats_url, job, 1, 1)
    assert texts(list(follow(service, job, params={"follow": False}))) == lines(0, 2)
