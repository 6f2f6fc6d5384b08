"""What the stream of events keeps."""

import json
from typing import Any

import nats

from constellation_pipelines.events.streams import EVENTS_NAME


async def stored(url: str, subject: str) -> list[dict[str, Any]]:
    """Envelopes under a subject, in the order of the stream."""
    client = await nats.connect(url)
    kept = (await client.jsm().stream_info(EVENTS_NAME, subjects_filter=subject)).state.subjects
    subscription = await client.jetstream().subscribe(subject, ordered_consumer=True)
    messages = [await subscription.next_msg(5) for _ in range(sum((kept or {}).values()))]
    await client.close()
    return [json.loads(message.data) for message in messages]
