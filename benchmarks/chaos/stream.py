"""What the stream of events in NATS holds."""

import asyncio

import nats
from nats.js.api import Header

from constellation_pipelines.events.streams import EVENTS_NAME
from constellation_pipelines.events.subjects import EVERYTHING

NEXT_S = 10.0  # longest wait for a message that is known to be there


def streamed(nats_url: str) -> list[str]:
    """Ids of all messages of the stream in its order: `<job>.<event>`."""
    return asyncio.run(_streamed(nats_url))


async def _streamed(nats_url: str) -> list[str]:
    client = await nats.connect(nats_url)
    try:
        stream = client.jetstream()
        count = (await client.jsm().stream_info(EVENTS_NAME)).state.messages
        found = await stream.subscribe(EVERYTHING, stream=EVENTS_NAME, ordered_consumer=True)
        messages = [await found.next_msg(timeout=NEXT_S) for _ in range(count)]
    finally:
        await client.close()
    return [(message.headers or {})[Header.MSG_ID.value] for message in messages]
