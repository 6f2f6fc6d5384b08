"""The relay: brings events from the outbox in Postgres to the stream in NATS."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.store.events import (
    MARK_PUBLISHED,
    OUTBOX_CHANNEL,
    UNPUBLISHED,
    event_of,
)

BATCH = 500
POLL_S = 1.0  # a notification can be missed; an event is then this late
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0

log = logging.getLogger(__name__)

AsyncConnection = psycopg.AsyncConnection[DictRow]


class Relay:
    """Publishes what is unpublished, in order, and marks it once NATS has stored it.

    An event is marked after it was acknowledged, so a crash in between publishes it again under the
    same message id and loses nothing. Only one relay runs at a time.
    """

    def __init__(self, connection: AsyncConnection, bus: Bus) -> None:
        self._connection = connection
        self._bus = bus

    async def drain(self) -> int:
        """Publish until nothing is left; return how many. Raises ServiceUnavailable on a failure.

        What was stored before the failure is marked.
        """
        published = 0
        while events := await self._unpublished():
            if not self._bus.has_stream:
                await self._bus.ensure_stream()
            kept = await self._bus.publish(events)
            if kept:
                ids = [event.id for event in events[:kept]]
                await self._connection.execute(MARK_PUBLISHED, {"ids": ids})
                published += kept
            if kept < len(events):
                raise ServiceUnavailable(f"NATS stored {kept} of {len(events)} events")
        return published

    async def wait(self) -> None:
        """Wait for the next event, at most a second."""
        async for _ in self._connection.notifies(timeout=POLL_S, stop_after=1):
            pass

    async def _unpublished(self) -> list[Any]:
        cursor = await self._connection.execute(UNPUBLISHED, {"limit": BATCH})
        return [event_of(row) for row in await cursor.fetchall()]


async def run_relay(database_url: str, nats_url: str, stop: asyncio.Event) -> None:
    """Relay events until `stop` is set, through outages of either side."""
    bus = Bus(nats_url, name="constellation relay")
    work = asyncio.create_task(relay_for_ever(database_url, bus))
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, waiting):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await bus.close()


async def relay_for_ever(database_url: str, bus: Bus) -> None:
    """Connect to both sides and relay; after a failure wait a little and begin again."""
    await bus.connect()
    backoff_s = FIRST_BACKOFF_S
    while True:
        try:
            async with await listening(database_url) as connection:
                relay = Relay(connection, bus)
                while True:
                    await relay.drain()
                    backoff_s = FIRST_BACKOFF_S
                    await relay.wait()
        except (psycopg.OperationalError, psycopg.InterfaceError, ServiceUnavailable) as error:
            log.warning("relay waits %.1f s: %s", backoff_s, error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)


async def listening(database_url: str) -> AsyncConnection:
    """A connection in autocommit that hears of new events."""
    connection = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row, connect_timeout=5
    )
    await connection.execute(f'listen "{OUTBOX_CHANNEL}"')
    return connection
