"""The WebSocket of events: live, resumed, and through outages."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.main import create_app
from benchmarks.streams.readers import Crowd, complete
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.event import Event
from constellation_pipelines.events import envelope, subjects
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.store import events
from constellation_pipelines.store.database import Database
from migrations.runner import migrate
from tests.api.service import Service, away, relaying, serving
from tests.api.service import listening as running
from tests.conftest import PostgresServer, scratch_database


@pytest.fixture(scope="module", autouse=True)
def relay(service: Service, module_database_url: str, nats_url: str) -> Iterator[None]:
    with relaying(module_database_url, nats_url):
        yield


def emit(database: Database, job: UUID, first: int, count: int = 1, size: int = 0) -> None:
    """Events with payload n = first, first + 1, ..., in one transaction."""
    with database.transaction() as connection:
        for n in range(first, first + count):
            payload = {"n": n, "filler": "x" * size} if size else {"n": n}
            events.emit(connection, "job.noted", job, None, payload)


LEFT: dict[ClientConnection, list[dict[str, Any]]] = {}


@contextmanager
def listening(service: Service, **params: Any) -> Iterator[ClientConnection]:
    query = "&".join(f"{name}={value}" for name, value in params.items())
    # Without a limit on what is queued here, closing need not wait for messages nobody will read.
    url = f"{service.websocket_url}?{query}"
    with connect(url, compression=None, max_queue=None) as socket:
        yield socket


def frames(socket: ClientConnection) -> Iterator[list[dict[str, Any]]]:
    """Envelopes of each frame, without those about the stream itself."""
    while True:
        found = json.loads(socket.recv(timeout=30))
        yield [one for one in found if not one["type"].startswith("stream.")]


def take(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """So many envelopes; what is left of a frame is there for the next call."""
    left = LEFT.setdefault(socket, [])
    coming = frames(socket)
    while len(left) < count:
        left += next(coming)
    LEFT[socket] = left[count:]
    return left[:count]


def take_until_closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    found = []
    try:
        for frame in frames(socket):
            found += frame
        raise AssertionError("frames do not end")
    except ConnectionClosed as closed:
        return found, closed.rcvd.code if closed.rcvd else None


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [event["payload"]["n"] for event in found]


def last_id(service: Service) -> int:
    row = service.database.fetch_one("select max(id) as id from constellation.events")
    assert row is not None
    return int(row["id"] or 0)


# ---- live ----


def test_an_event_reaches_a_socket_in_the_form_of_the_contract(service: Service) -> None:
    job = uuid4()
    with listening(service, job_id=job, after=0) as socket:
        emit(service.database, job, 7)
        (event,) = take(socket, 1)
    assert set(event) == {"id", "type", "at", "job_id", "run_id", "payload"}
    assert (event["type"], event["job_id"], event["run_id"]) == ("job.noted", str(job), None)
    assert event["payload"] == {"n": 7}
    assert event["id"] == last_id(service)


def test_a_socket_of_one_job_gets_nothing_of_another(service: Service) -> None:
    mine, other = uuid4(), uuid4()
    with listening(service, job_id=mine, after=0) as socket:
        emit(service.database, other, 0, 5)
        emit(service.database, mine, 1)
        assert numbers(take(socket, 1)) == [1]


def test_a_socket_without_a_job_gets_all_of_them(service: Service) -> None:
    jobs = [uuid4(), uuid4()]
    with listening(service) as socket:
        socket.ping().wait(5)
        for job in jobs:
            emit(service.database, job, 0)
        missing = {str(job) for job in jobs}
        while missing:
            missing -= {event["job_id"] for event in take(socket, 1)}


def test_without_an_id_a_socket_gets_only_what_is_new(service: Service) -> None:
    job = uuid4()
    with listening(service, job_id=job) as early:
        early.ping().wait(5)
        emit(service.database, job, 0, 3)
        take(early, 3)  # so the relay is through with them
        with listening(service, job_id=job) as socket:
            socket.ping().wait(5)
            emit(service.database, job, 3)
            assert numbers(take(socket, 1)) == [3]


# ---- resume ----


def test_a_resumed_socket_sees_no_gap_and_no_double(service: Service) -> None:
    """Reconnects again and again while events are written; each connection takes a few."""
    job, total = uuid4(), 1500

    def write() -> None:
        for first in range(0, total, 10):
            emit(service.database, job, first, 10)

    writer = threading.Thread(target=write)
    writer.start()
    found: list[dict[str, Any]] = []
    after = 0
    while len(found) < total:
        with listening(service, job_id=job, after=after) as socket:
            found += take(socket, min(130, total - len(found)))
        after = found[-1]["id"]
    writer.join()
    assert numbers(found) == list(range(total))


def test_a_resumed_socket_of_all_jobs_sees_every_event_once(service: Service) -> None:
    """Four jobs commit side by side, so that ids come in another order than they were taken."""
    jobs, each = [uuid4() for _ in range(4)], 200
    total = each * len(jobs)

    def write(job: UUID) -> None:
        for first in range(0, each, 5):
            emit(service.database, job, first, 5)

    writers = [threading.Thread(target=write, args=(job,)) for job in jobs]
    found: list[tuple[str, int]] = []
    with listening(service) as first_socket:
        first_socket.ping().wait(5)
        for writer in writers:
            writer.start()
        event = take(first_socket, 1)[0]
        while event["job_id"] not in map(str, jobs):  # of the test before
            event = take(first_socket, 1)[0]
    found.append((event["job_id"], event["payload"]["n"]))
    while len(found) < total:
        with listening(service, after=event["id"]) as socket:
            for event in take(socket, min(90, total - len(found))):
                found.append((event["job_id"], event["payload"]["n"]))
    for writer in writers:
        writer.join()
    for job in jobs:
        assert [n for of_job, n in found if of_job == str(job)] == list(range(each))


def test_many_sockets_that_are_cut_again_and_again_have_each_event_once(service: Service) -> None:
    job, run, total = uuid4(), uuid4(), 400
    crowd = Crowd(f"{service.websocket_url}?job_id={job}", 30)
    try:
        crowd.connect()
        for first in range(0, total, 4):
            with service.database.transaction() as connection:
                for n in range(first, first + 4):
                    events.emit(connection, "tile.completed", job, run, {"n": n})
            crowd.turn(0.02)
            if first % 40 == 0:
                crowd.cut(0.3)
        deadline = time.monotonic() + 60
        while not complete(crowd, last_id(service)):
            assert time.monotonic() < deadline
            crowd.turn(0.05)
    finally:
        crowd.close()
    expected = service.database.fetch_all(
        "select id from constellation.events where job_id = %s order by id", (job,)
    )
    assert crowd.cuts >= 9
    for reader in crowd.readers:
        assert reader.heard == [row["id"] for row in expected]


def test_a_server_that_takes_no_ready_frames_sends_the_same(
    module_database_url: str, nats_url: str, tmp_path: Path
) -> None:
    """Frames are then made anew for each socket, and compressed where the client can."""
    settings = Settings(database_url=module_database_url, nats_url=nats_url, data_dir=tmp_path)
    job, database = uuid4(), Database(module_database_url)
    try:
        with running(create_app(settings), ws="auto", ws_per_message_deflate=True) as url:
            address = f"{url.replace('http', 'ws', 1)}/api/v1/stream?job_id={job}&after=0"
            with connect(address) as socket:
                for first in range(0, 40, 4):
                    emit(database, job, first, 4)
                    time.sleep(0.01)
                assert numbers(take(socket, 40)) == list(range(40))
    finally:
        database.close()


def test_a_client_resumes_at_a_server_that_has_started_anew(
    module_database_url: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    job = uuid4()
    folder = tmp_path_factory.mktemp("anew")
    found: list[dict[str, Any]] = []
    for first in range(0, 60, 20):
        with serving(module_database_url, nats_url, folder) as anew:
            emit(anew.database, job, first, 20)
            after = found[-1]["id"] if found else 0
            with listening(anew, job_id=job, after=after) as socket:
                found += take(socket, 15)
    with serving(module_database_url, nats_url, folder) as anew:
        with listening(anew, job_id=job, after=found[-1]["id"]) as socket:
            found += take(socket, 15)
    assert numbers(found) == list(range(60))


def test_a_quiet_socket_hears_a_heartbeat(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routers.stream.HEARTBEAT_S", 0.1)
    with listening(service, job_id=uuid4()) as socket:
        (beat,) = take(socket, 1)
    assert beat["type"] == "heartbeat"
    assert set(beat) == {"id", "type", "at", "job_id", "run_id", "payload"}
    assert beat["id"] is None


# ---- bad input ----


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("job_id=5", "job_id must be a UUID"),
        ("job_id=", "job_id must be a UUID"),
        ("after=-1", "after must be the id of an event"),
        ("after=1e3", "after must be the id of an event"),
        ("after=%D9%A3", "after must be the id of an event"),
        ("after=99999999999999999999", "after must be the id of an event"),
        ("after=9223372036854775808", "after must be the id of an event"),
        ("after=1;drop%20table%20x", "after must be the id of an event"),
        ("topic=all", "unknown parameter 'topic'"),
        ("topics=everything", "topics are: jobs"),
    ],
)
def test_wrong_parameters_close_the_socket_with_the_reason(
    service: Service, query: str, reason: str
) -> None:
    with connect(f"{service.websocket_url}?{query}") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert closed.value.rcvd.reason.startswith(reason)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("[" * 4000, "a request is a JSON object"),
        ("null", "a request is a JSON object"),
        ("{" + " " * 5000 + "}", "a request is a text of at most"),
        (b"\x00\xff", "a request is a text of at most"),
        ('{"subscribe": ["jobs"], "sql": "drop"}', "unknown member 'sql'"),
        ('{"subscribe": ["jobs"], "unsubscribe": ["jobs"]}', "a request has either"),
        ("{}", "a request has either"),
        ('{"subscribe": ["everything"]}', "topics are: jobs"),
        ('{"subscribe": [["jobs"]]}', "topics are: jobs"),
        ('{"subscribe": []}', "name topics in a list"),
        ('{"subscribe": "jobs"}', "name topics in a list"),
        ('{"subscribe": ["logs"]}', "logs are those of one job"),
        ('{"subscribe": ["jobs"], "job_id": 5}', "job_id must be a UUID"),
        ('{"subscribe": ["jobs"], "after": -1}', "after must be the id"),
        ('{"subscribe": ["jobs"], "after": true}', "after must be the id"),
        ('{"subscribe": ["jobs"], "after": 1e999}', "after must be the id"),
        ('{"subscribe": ["jobs"], "after": 9223372036854775808}', "after must be the id"),
    ],
)
def test_a_wrong_request_closes_the_socket_with_the_reason(
    service: Service, said: str | bytes, reason: str
) -> None:
    with listening(service, topics="none") as socket:
        socket.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert closed.value.rcvd.reason.startswith(reason)


def ask(socket: ClientConnection, **request: Any) -> list[dict[str, Any]]:
    """Ask, and return what comes up to the word that it is live."""
    socket.send(json.dumps(request))
    found: list[dict[str, Any]] = []
    while True:
        for one in json.loads(socket.recv(timeout=30)):
            if one["type"] == "stream.subscribed":
                return found
            found.append(one)


def test_one_socket_hears_of_several_jobs_each_from_where_it_was_left(service: Service) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    for job in (first, second, third):
        emit(service.database, job, 0, 3)
    with listening(service, job_id=first, after=0) as socket:
        left = take(socket, 3)
    with listening(service, topics="none") as socket:
        jobs = ["jobs", "runs", "tiles"]
        assert ask(socket, subscribe=jobs, job_id=str(first), after=left[0]["id"]) == left[1:]
        replayed = ask(socket, subscribe=jobs, job_id=str(second), after=0)
        assert numbers(replayed) == [0, 1, 2]
        emit(service.database, third, 3)
        emit(service.database, second, 3)
        emit(service.database, first, 3)
        live = take(socket, 2)
        assert {event["job_id"] for event in live} == {str(first), str(second)}
        assert numbers(live) == [3, 3]


def test_a_socket_hears_no_more_of_what_it_unsubscribes(service: Service) -> None:
    first, second = uuid4(), uuid4()
    with listening(service, topics="none") as socket:
        for job in (first, second):
            ask(socket, subscribe=["jobs"], job_id=str(job))
        socket.send(json.dumps({"unsubscribe": ["jobs"], "job_id": str(first)}))
        socket.ping().wait(10)
        emit(service.database, first, 0)
        emit(service.database, second, 1)
        assert numbers(take(socket, 1)) == [1]


def test_a_socket_hears_of_the_topics_it_names_only(service: Service) -> None:
    job, run = uuid4(), uuid4()
    with listening(service, topics="runs", job_id=job) as socket:
        socket.ping().wait(10)
        with service.database.transaction() as connection:
            for type in ("job.noted", "run.started", "tile.completed"):
                events.emit(connection, type, job, run, {"n": 1})
        (event,) = take(socket, 1)
        assert event["type"] == "run.started"


def test_a_reader_that_is_too_slow_is_closed_and_can_resume(service: Service) -> None:
    job, total = uuid4(), 3000
    with connect(f"{service.websocket_url}?job_id={job}", compression=None, max_queue=1) as socket:
        socket.ping().wait(5)
        for first in range(0, total, 100):
            emit(service.database, job, first, 100, size=10_000)
        with listening(service, job_id=job, after=0) as other:
            assert numbers(take(other, total)) == list(range(total))  # nobody else waits for it
        found, code = take_until_closed(socket)
    assert code == 1013
    assert numbers(found) == list(range(len(found)))
    assert len(found) < total
    with listening(service, job_id=job, after=found[-1]["id"]) as socket:
        assert numbers(take(socket, total - len(found))) == list(range(len(found), total))


# ---- outages ----


def test_sockets_live_through_a_nats_outage(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """While NATS is away events come from Postgres; afterwards none is missing or doubled.

    On a database of its own: the relay of the other tests would take its events elsewhere.
    """
    folder = tmp_path_factory.mktemp("outage")
    server = EmbeddedNats(folder / "nats")
    job = uuid4()
    try:
        with (
            server,
            serving(database_url, server.url, folder) as service,
            relaying(database_url, server.url),
            listening(service, job_id=job, after=0) as socket,
        ):
            emit(service.database, job, 0, 20)
            assert numbers(take(socket, 20)) == list(range(20))
            server.stop()
            emit(service.database, job, 20, 20)
            assert numbers(take(socket, 20)) == list(range(20, 40))
            server.start()
            for first in range(40, 100, 10):
                emit(service.database, job, first, 10)
            assert numbers(take(socket, 60)) == list(range(40, 100))
            emit(service.database, job, 100)
            assert numbers(take(socket, 1)) == [100]
    finally:
        server.remove()


def test_without_nats_events_still_come_from_postgres(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    job = uuid4()
    with (
        serving(module_database_url, None, tmp_path_factory.mktemp("bare")) as service,
        listening(service, job_id=job, after=0) as socket,
    ):
        emit(service.database, job, 0, 3)
        assert numbers(take(socket, 3)) == [0, 1, 2]


def test_a_replay_without_a_database_asks_the_client_to_come_back(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lost")
    with (
        serving(module_database_url, None, folder) as service,
        away(module_database_url),
        listening(service, job_id=uuid4(), after=0) as socket,
    ):
        assert take_until_closed(socket) == ([], 1013)


class ShakyBus(Bus):
    """Loses its server just before the first subscription."""

    tries = 0

    async def subscribe(
        self, subject: str, receive: Callable[[str, bytes], Awaitable[None]]
    ) -> None:
        self.tries += 1
        if self.tries == 1:
            raise ServiceUnavailable("NATS does not answer right now")
        await super().subscribe(subject, receive)


def test_a_server_lost_before_the_subscription_is_subscribed_to_later(
    database: Database, nats_url: str, tmp_path: Path
) -> None:
    bus = ShakyBus(nats_url)
    app = create_app(Settings(data_dir=tmp_path), database=database, bus=bus)
    told = Event(2**40, "job.noted", datetime.now(UTC), uuid4(), None, "local", {"n": 1})
    subject = subjects.of_event(told.type, told.account, told.job_id, None)

    async def publish_until(heard: threading.Event) -> None:
        client = await nats.connect(nats_url)
        while not heard.is_set():
            await client.publish(subject, envelope.encode(told).encode())
            await asyncio.sleep(0.1)
        await client.close()

    heard = threading.Event()
    publisher = threading.Thread(target=lambda: asyncio.run(publish_until(heard)))
    with running(app) as url, connect(f"{url.replace('http', 'ws', 1)}/api/v1/stream") as socket:
        publisher.start()
        try:
            assert take(socket, 1)[0]["id"] == told.id
        finally:
            heard.set()
            publisher.join()
    assert bus.tries == 2


def test_a_server_that_is_up_before_its_tables_are_hears_of_events_later(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with (
        scratch_database(postgres) as name,
        serving(postgres.url_of(name), None, tmp_path) as service,
        connect(service.websocket_url) as socket,
    ):
        assert service.http.get("/jobs").status_code == 500, "there are no tables yet"
        migrate(postgres.url_of(name))
        job, deadline = uuid4(), time.monotonic() + 15
        while True:
            emit(service.database, job, 1)
            with suppress(TimeoutError):
                found = json.loads(socket.recv(timeout=0.5))
                if any(one["job_id"] == str(job) for one in found):
                    return
            assert time.monotonic() < deadline
