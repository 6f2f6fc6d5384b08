"""The relay: brings events from the outbox in Postgres to the stream in NATS."""

import asyncio
import logging
from contextlib import suppress
from typing import LiteralString

import psycopg
from nats.js.api import PubAck
from psycopg.rows import DictRow, dict_row

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.event import Event
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.store.events import (
    MARK_PUBLISHED,
    OUTBOX_CHANNEL,
    UNPUBLISHED,
    event_of,
)

MOST_IN_FLIGHT = 500  # events; NATS acknowledges a crowd of them only when all are written
POLL_S = 1.0  # a notification can be missed; an event is then this late
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0

log = logging.getLogger(__name__)

# What a crash of Postgres takes back of the marks is published again, and dropped as a double.
QUICK_COMMIT = "set synchronous_commit = off"

AsyncConnection = psycopg.AsyncConnection[DictRow]
Batch = tuple[list[int], list[asyncio.Future[PubAck]]]


class Relay:
    """Publishes what is unpublished, in order, and marks it once NATS has stored it.

    Neither waits for the other: a commit reaches the readers while NATS still writes the one before
    to disk. An event is marked after it was acknowledged, so a crash in between publishes it again
    under the same message id and loses nothing. Only one relay runs at a time.
    """

    def __init__(self, reading: AsyncConnection, marking: AsyncConnection, bus: Bus) -> None:
        self._reading = reading
        self._marking = marking
        self._bus = bus
        self._in_flight: set[int] = set()  # sent, and not marked yet
        self._sent: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Relay until one of the two fails, then mark what was stored before.

        Raises ServiceUnavailable, or what the driver raises.
        """
        publishing = asyncio.create_task(self._publish())
        marking = asyncio.create_task(self._mark())
        try:
            await asyncio.wait({publishing, marking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            publishing.cancel()
            self._sent.put_nowait(None)
            failures = await asyncio.gather(publishing, marking, return_exceptions=True)
        for failure in failures:
            if failure is not None and not isinstance(failure, asyncio.CancelledError):
                raise failure

    async def _publish(self) -> None:
        while True:
            while events := await self._unpublished():
                if not self._bus.has_stream:
                    await self._bus.ensure_stream()
                acks = await self._bus.send(events)
                ids = [event.id for event in events[: len(acks)]]
                self._in_flight.update(ids)
                self._sent.put_nowait((ids, acks))
                if len(acks) < len(events):
                    raise ServiceUnavailable(f"NATS took {len(acks)} of {len(events)} events")
            async for _ in self._reading.notifies(timeout=POLL_S, stop_after=1):
                pass

    async def _mark(self) -> None:
        while (batch := await self._sent.get()) is not None:
            ids, acks = batch
            kept = await self._bus.settle(acks)
            if kept:
                await self._marking.execute(MARK_PUBLISHED, {"ids": ids[:kept]})
                self._in_flight.difference_update(ids[:kept])
                self._room.set()
            if kept < len(ids):
                raise ServiceUnavailable(f"NATS stored {kept} of {len(ids)} events")

    async def _unpublished(self) -> list[Event]:
        while len(self._in_flight) >= MOST_IN_FLIGHT:
            self._room.clear()
            await self._room.wait()
        sent = list(self._in_flight)
        args = {"limit": MOST_IN_FLIGHT - len(sent), "in_flight": sent}
        cursor = await self._reading.execute(UNPUBLISHED, args)
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
        began_s = asyncio.get_running_loop().time()
        try:
            async with (
                await connected(database_url, f'listen "{OUTBOX_CHANNEL}"') as reading,
                await connected(database_url, QUICK_COMMIT) as marking,
            ):
                await Relay(reading, marking, bus).run()
        except (psycopg.OperationalError, psycopg.InterfaceError, ServiceUnavailable) as error:
            if asyncio.get_running_loop().time() - began_s > MAX_BACKOFF_S:
                backoff_s = FIRST_BACKOFF_S
            log.warning("relay waits %.1f s: %s", backoff_s, error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)


async def connected(database_url: str, first: LiteralString) -> AsyncConnection:
    """A connection in autocommit that has said something first."""
    connection = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row, connect_timeout=5
    )
    try:
        await connection.execute(first)
    except BaseException:  # also when it is told to stop just then
        await connection.close()
        raise
    return connection
