"""A reader of a stream, through the loss of its connection and of the stream itself."""

import asyncio
import shutil

import pytest

from api.live.follower import Follower
from constellation_pipelines.events import streams, subjects
from constellation_pipelines.events.bus import Bus, Stored
from constellation_pipelines.stack.nats import EmbeddedNats

SUBJECT = subjects.LOGS.replace("*", "ann").replace(">", "job.run")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedNats:
    return EmbeddedNats(tmp_path_factory.mktemp("follower"))


async def say(url: str, *texts: str) -> None:
    bus = Bus(url)
    await bus.connect()
    await bus.ensure(streams.LOGS)
    said = [Stored(text, SUBJECT, text.encode()) for text in texts]
    assert await bus.store(said) == len(texts)
    await bus.close()


async def until(found: list[str], expected: list[str]) -> None:
    for _ in range(600):
        if found == expected:
            return
        await asyncio.sleep(0.1)
    assert found == expected


def test_each_message_is_handed_on_once_through_outages_and_a_lost_stream(
    server: EmbeddedNats,
) -> None:
    found: list[str] = []

    async def receive(_number: int, _subject: str, data: bytes, _pending: int) -> None:
        found.append(data.decode())

    async def work() -> None:
        bus = Bus(server.url)
        follower = Follower(bus, streams.LOGS, receive, from_first=True)
        follower.start()
        await say(server.url, "1", "2")
        await until(found, ["1", "2"])
        server.stop()
        server.start()
        await say(server.url, "3")
        await until(found, ["1", "2", "3"])
        assert follower.last == 3
        server.stop()
        shutil.rmtree(server.home / "store")  # numbers begin at 1 again
        server.start()
        await say(server.url, "4")
        await until(found, ["1", "2", "3", "4"])
        assert follower.last == 1
        await follower.stop()
        await bus.close()

    try:
        with server:
            asyncio.run(work())
    finally:
        server.remove()
