import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import nats
import pytest

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.event import Event
from constellation_pipelines.events import bus as buses
from constellation_pipelines.events import streams
from constellation_pipelines.events.bus import Bus
from tests.events.stream import stored


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Bus]:
    bus = Bus(url)
    await bus.connect()
    await bus.ensure_stream()
    try:
        yield bus
    finally:
        await bus.close()


def some_events(count: int) -> list[Event]:
    job = uuid4()
    now = datetime.now(UTC)
    return [Event(n, "job.noted", now, job, None, "local", {"n": n}) for n in range(1, count + 1)]


async def publish(bus: Bus, events: list[Event]) -> int:
    return await bus.settle(await bus.send(events))


async def stored_ids(url: str, events: list[Event]) -> list[int]:
    """Ids that the stream keeps of these events' job, in the order of the stream."""
    found = await stored(url, f"constellation.local.jobs.{events[0].job_id}.>")
    return [envelope["id"] for envelope in found]


def test_published_events_are_kept_in_order(nats_url: str) -> None:
    async def work() -> None:
        events = some_events(1200)
        async with connected(nats_url) as bus:
            assert await publish(bus, events) == 1200
        assert await stored_ids(nats_url, events) == list(range(1, 1201))

    run(work())


def test_publishing_again_leaves_each_event_once(nats_url: str) -> None:
    async def work() -> None:
        events = some_events(50)
        async with connected(nats_url) as bus:
            assert await publish(bus, events[:30]) == 30
            assert await publish(bus, events[10:]) == 40
        assert await stored_ids(nats_url, events) == list(range(1, 51))

    run(work())


def test_what_is_sent_before_the_last_is_settled_comes_after_it(nats_url: str) -> None:
    async def work() -> None:
        events = some_events(300)
        async with connected(nats_url) as bus:
            sent = [await bus.send(events[first : first + 30]) for first in range(0, 300, 30)]
            assert [await bus.settle(acks) for acks in sent] == [30] * 10
        assert await stored_ids(nats_url, events) == list(range(1, 301))

    run(work())


def test_after_a_refused_event_nothing_later_is_stored(nats_url: str) -> None:
    async def work() -> None:
        events = some_events(10)
        events[4] = replace(events[4], payload={"text": "x" * 20_000})
        async with connected(nats_url) as bus:
            client = await nats.connect(nats_url)
            manager = client.jsm()
            config = (await manager.stream_info(streams.EVENTS_NAME)).config
            await manager.update_stream(config, max_msg_size=10_000)
            sent = [await bus.send(events[:7]), await bus.send(events[7:])]
            assert [await bus.settle(acks) for acks in sent] == [4, 0]
            assert not bus.has_stream
            assert await stored_ids(nats_url, events) == [1, 2, 3, 4]
            await manager.update_stream(config, max_msg_size=-1)
            await client.close()
            await bus.ensure_stream()
            assert await publish(bus, events[4:]) == 6
        assert await stored_ids(nats_url, events) == list(range(1, 11))

    run(work())


def test_without_a_server_publishing_keeps_nothing_and_asking_fails() -> None:
    async def work() -> None:
        bus = Bus("nats://127.0.0.1:1")
        assert not bus.connected
        assert await publish(bus, some_events(1)) == 0
        with pytest.raises(ServiceUnavailable):
            await bus.flush()
        with pytest.raises(ServiceUnavailable):
            await bus.ensure_stream()
        await bus.close()

    run(work())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nats://127.0.0.1:5222", ("127.0.0.1", 5222)),
        ("nats://user:secret@host", ("host", 4222)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_the_address_of_a_url(url: str, expected: tuple[str, int]) -> None:
    assert buses.address(url) == expected
