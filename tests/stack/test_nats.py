import asyncio
from pathlib import Path

import nats
import psutil

from constellation_pipelines.stack.account import service_account
from constellation_pipelines.stack.nats import EmbeddedNats


def test_a_stream_outlives_a_restart(tmp_path: Path) -> None:
    server = EmbeddedNats(tmp_path)
    try:
        with server:
            asyncio.run(publish(server.url))
        with EmbeddedNats(tmp_path, port=server.port) as again:
            assert asyncio.run(count(again.url)) == 1
    finally:
        server.remove()
    assert not server.home.exists()


def test_it_runs_on_the_loopback_address_only_and_unprivileged(tmp_path: Path) -> None:
    server = EmbeddedNats(tmp_path)
    with server:
        listening = [
            process
            for process in psutil.process_iter()
            if process.name() == "nats-server" and str(server.home) in " ".join(process.cmdline())
        ]
        assert len(listening) == 1
        assert set(listening[0].uids()) == {service_account().uid}
        places = {place.laddr.ip for place in listening[0].net_connections() if place.laddr}
        assert places == {"127.0.0.1"}
    server.remove()


async def publish(url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="test", subjects=["test.>"])
    await stream.publish("test.one", b"1")
    await client.close()


async def count(url: str) -> int:
    client = await nats.connect(url)
    info = await client.jetstream().stream_info("test")
    await client.close()
    return int(info.state.messages)
