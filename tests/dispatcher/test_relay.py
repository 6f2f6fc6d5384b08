import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats
import psycopg
import pytest
from nats.aio.msg import Msg

from constellation_pipelines.dispatcher.relay import connected, run_relay
from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.store import events
from constellation_pipelines.store.database import Database
from tests.events.stream import stored


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 40))


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[EmbeddedNats]:
    server = EmbeddedNats(tmp_path)
    try:
        with server:
            yield server
    finally:
        server.remove()


@asynccontextmanager
async def relaying(database_url: str, nats_url: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_relay(database_url, nats_url, stop))
    try:
        yield
    finally:
        stop.set()
        await task


def emit(database: Database, job: UUID, count: int, first: int = 0) -> None:
    with database.transaction() as connection:
        for n in range(first, first + count):
            events.emit(connection, "job.noted", job, None, {"n": n})


def unpublished(database: Database) -> int:
    row = database.fetch_one(
        "select count(*) as n from constellation.events where published_at is null"
    )
    assert row is not None
    return int(row["n"])


async def drained(database: Database) -> None:
    while await asyncio.to_thread(unpublished, database):
        await asyncio.sleep(0.02)


async def stored_numbers(url: str, job: UUID) -> list[int]:
    """The `n` of a job's events in the order of the stream."""
    found = await stored(url, f"constellation.*.jobs.{job}.>")
    return [envelope["payload"]["n"] for envelope in found]


def test_committed_events_are_published_once_in_order_and_marked(
    database: Database, database_url: str, nats_url: str
) -> None:
    async def work() -> None:
        jobs = [uuid4(), uuid4()]
        for first in range(0, 900, 300):
            for job in jobs:
                emit(database, job, 300, first)
        async with relaying(database_url, nats_url):
            await drained(database)
        for job in jobs:
            assert await stored_numbers(nats_url, job) == list(range(900))

    run(work())


def test_an_event_is_published_as_soon_as_it_is_committed(
    database: Database, database_url: str, nats_url: str
) -> None:
    async def work() -> None:
        job = uuid4()
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        client = await nats.connect(nats_url)

        async def hear(message: Msg) -> None:
            heard.put_nowait(message.data)

        await client.subscribe(f"constellation.*.jobs.{job}.>", cb=hear)
        async with relaying(database_url, nats_url):
            delays_s = []
            for n in range(20):
                begun = asyncio.get_running_loop().time()
                await asyncio.to_thread(emit, database, job, 1, n)
                assert json.loads(await heard.get())["payload"] == {"n": n}
                delays_s.append(asyncio.get_running_loop().time() - begun)
            # Far below the second after which the relay would have looked by itself.
            assert sorted(delays_s)[10] < 0.3
        await client.close()

    run(work())


def test_an_event_does_not_wait_until_those_before_it_are_marked(
    database: Database, database_url: str, nats_url: str
) -> None:
    """A row that somebody holds cannot be marked; what is committed meanwhile is published once."""

    async def work() -> None:
        job = uuid4()
        heard: asyncio.Queue[int] = asyncio.Queue()
        client = await nats.connect(nats_url)

        async def hear(message: Msg) -> None:
            heard.put_nowait(json.loads(message.data)["payload"]["n"])

        await client.subscribe(f"constellation.*.jobs.{job}.>", cb=hear)
        await client.flush()
        emit(database, job, 1)
        with psycopg.connect(database_url) as holder:
            holder.execute(
                "select 1 from constellation.events where job_id = %s for update", (job,)
            )
            async with relaying(database_url, nats_url):
                for n in range(1, 30):
                    await asyncio.to_thread(emit, database, job, 1, n)
                assert [await heard.get() for _ in range(30)] == list(range(30))
                assert unpublished(database) == 30
                holder.rollback()
                await drained(database)
        assert heard.empty()
        assert await stored_numbers(nats_url, job) == list(range(30))
        await client.close()

    run(work())


def test_a_rolled_back_event_is_never_published(
    database: Database, database_url: str, nats_url: str
) -> None:
    async def work() -> None:
        job = uuid4()
        with suppress(ZeroDivisionError), database.transaction() as connection:
            events.emit(connection, "job.noted", job, None, {"n": 0})
            raise ZeroDivisionError
        emit(database, job, 1, first=1)
        async with relaying(database_url, nats_url):
            await drained(database)
        assert await stored_numbers(nats_url, job) == [1]

    run(work())


def test_a_relay_that_died_before_marking_publishes_nothing_twice(
    database: Database, database_url: str, nats_url: str
) -> None:
    async def work() -> None:
        job = uuid4()
        emit(database, job, 40)
        async with relaying(database_url, nats_url):
            await drained(database)
        database.execute(
            "update constellation.events set published_at = null where (payload ->> 'n')::int >= 15"
        )
        async with relaying(database_url, nats_url):
            await drained(database)
        assert await stored_numbers(nats_url, job) == list(range(40))

    run(work())


def test_the_outbox_fills_while_nats_is_away_and_drains_in_order(
    database: Database, database_url: str, own_nats: EmbeddedNats
) -> None:
    async def work() -> None:
        job = uuid4()
        emit(database, job, 100)
        async with relaying(database_url, own_nats.url):
            await drained(database)
            own_nats.stop()
            emit(database, job, 700, first=100)
            await asyncio.sleep(1)
            assert unpublished(database) == 700
            await asyncio.to_thread(own_nats.start)
            await drained(database)
        assert await stored_numbers(own_nats.url, job) == list(range(800))

    run(work())


def test_a_wiped_nats_store_gets_its_stream_again(
    database: Database, database_url: str, own_nats: EmbeddedNats
) -> None:
    async def work() -> None:
        job = uuid4()
        async with relaying(database_url, own_nats.url):
            emit(database, job, 5)
            await drained(database)
            client = await nats.connect(own_nats.url)
            await client.jsm().delete_stream("CONSTELLATION_EVENTS")
            await client.close()
            emit(database, job, 5, first=5)
            await drained(database)
        assert await stored_numbers(own_nats.url, job) == list(range(5, 10))

    run(work())


def test_the_relay_outlives_a_lost_database_connection(
    database: Database, database_url: str, nats_url: str
) -> None:
    async def work() -> None:
        job = uuid4()
        async with relaying(database_url, nats_url):
            emit(database, job, 10)
            await drained(database)
            with psycopg.connect(database_url, autocommit=True) as connection:
                ended = connection.execute(
                    "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                ).fetchone()
            assert ended is not None
            assert ended[0] >= 1
            emit(database, job, 10, first=10)
            await drained(database)
        assert await stored_numbers(nats_url, job) == list(range(20))

    run(work())


def test_the_relay_stops_when_told_to_even_without_nats(database_url: str) -> None:
    async def work() -> None:
        before = threading.active_count()
        async with relaying(database_url, "nats://127.0.0.1:1"):
            await asyncio.sleep(0.3)
        assert threading.active_count() <= before

    run(work())


def test_a_connection_that_cannot_say_its_first_word_is_closed(database_url: str) -> None:
    """One that is left open for the garbage collector warns, and fails the test."""
    with pytest.raises(psycopg.errors.SyntaxError):
        asyncio.run(connected(database_url, "no statement"))
    gc.collect()
