"""The hub: events from NATS, fanned out to WebSocket clients; Postgres fills every gap."""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.domain.event import Event
from constellation_pipelines.events import envelope, subjects
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.store import events
from constellation_pipelines.store.database import Database

QUEUE_MAX = 1000  # messages a reader may be behind before its socket is closed
HELD_MAX = 100_000  # messages kept while Postgres is asked for what was missed
REPLAY_PAGE = 500
POLL_S = 1.0  # how often Postgres is asked while NATS is away
MARGIN_S = 30.0  # how long before a lost connection messages may have gone missing
JOBS_REMEMBERED = 10_000

log = logging.getLogger(__name__)

Send = Callable[[str], Awaitable[None]]


class Watermarks:
    """The last id seen of each job. A job's ids only grow, so one number per job tells old from new."""

    def __init__(self) -> None:
        self._last: OrderedDict[UUID | None, int] = OrderedDict()

    def pass_over(self, job_id: UUID | None, id: int) -> None:
        """Count everything of a job up to `id` as seen."""
        self._last[job_id] = max(id, self._last.get(job_id, 0))

    def is_new(self, event: Event) -> bool:
        """Whether this event was not seen before; it is from now on."""
        if event.id <= self._last.get(event.job_id, 0):
            return False
        self._last[event.job_id] = event.id
        self._last.move_to_end(event.job_id)
        if len(self._last) > JOBS_REMEMBERED:
            self._last.popitem(last=False)
        return True


class Listener:
    """One reader of the hub: what it wants, and the messages it has not taken yet."""

    def __init__(self, job_id: UUID | None = None, *, queue_max: int = QUEUE_MAX) -> None:
        self.job_id = job_id
        self.too_slow = asyncio.Event()
        self._seen = Watermarks()
        self._queue: asyncio.Queue[tuple[Event, str]] = asyncio.Queue(queue_max)

    def wants(self, event: Event) -> bool:
        """Whether this event is for this reader."""
        return self.job_id is None or self.job_id == event.job_id

    def offer(self, event: Event, text: str) -> None:
        """Queue a message; a reader with a full queue is marked as too slow and gets no more."""
        if self.too_slow.is_set() or not self.wants(event):
            return
        try:
            self._queue.put_nowait((event, text))
        except asyncio.QueueFull:
            self.too_slow.set()

    def is_new(self, event: Event) -> bool:
        """Whether this reader has not got this event yet; it has from now on."""
        return self._seen.is_new(event)

    def resume_after(self, id: int) -> None:
        """Count the events of this reader's job up to `id` as sent."""
        if self.job_id is not None:
            self._seen.pass_over(self.job_id, id)

    async def next(self) -> str:
        """The next message that this reader has not got yet."""
        while True:
            event, text = await self._queue.get()
            if self.is_new(event):
                return text


class Hub:
    """Takes every event once and offers it to all listeners.

    It is either *live*, when messages from NATS are passed on as they come, or *behind*, when
    messages may have been missed: then they are held, Postgres is asked each second, and the hub is
    live again once it has asked with NATS connected. Without a bus it stays behind and polls.
    """

    def __init__(self, database: Database, bus: Bus | None) -> None:
        self._database = database
        self._bus = bus
        self._listeners: set[Listener] = set()
        self._seen = Watermarks()
        self._behind = True
        self._behind_since_s = time.monotonic()
        self._held: deque[tuple[Event, str]] = deque()
        self._losses = 0
        self._subscribed = False
        self._newest = 0
        self._first: int | None = None
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        if bus is not None:
            bus.on_lost(self._fall_behind)

    @property
    def connected(self) -> bool:
        """Whether NATS is reached."""
        return self._bus is not None and self._bus.connected

    async def start(self) -> None:
        """Begin to listen; neither NATS nor Postgres needs to be there yet."""
        self._tasks = [asyncio.create_task(self._subscribe()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """Stop listening and close the bus."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        if self._bus is not None:
            await self._bus.close()

    def add(self, listener: Listener) -> None:
        """Offer this listener every event from now on."""
        self._listeners.add(listener)

    def remove(self, listener: Listener) -> None:
        """Offer it no more."""
        self._listeners.discard(listener)

    async def replay(self, listener: Listener, after: int, send: Send) -> None:
        """Send what came after event `after`, then add the listener without a gap or a double.

        Raises ServiceUnavailable when Postgres does not answer.
        """
        listener.resume_after(after)
        added = False
        while True:
            page = await asyncio.to_thread(self._page, listener.job_id, after)
            for event in page:
                if listener.is_new(event):
                    await send(envelope.encode(event))
            newer = [event.id for event in page if event.id > after]
            after = max(newer, default=after)
            if len(newer) == REPLAY_PAGE:
                continue
            if added:
                return
            self.add(listener)  # what is committed from here on comes by both ways
            added = True

    def _page(self, job_id: UUID | None, after: int) -> list[Event]:
        with self._database.transaction() as connection:
            if job_id is None:
                return events.after(connection, after, REPLAY_PAGE)
            return events.of_job_after(connection, job_id, after, REPLAY_PAGE)

    # ---- events in ----

    async def _subscribe(self) -> None:
        if self._bus is None:
            return
        await self._bus.connect()
        await self._bus.subscribe(subjects.EVERYTHING, self._receive)
        self._subscribed = True
        self._wake.set()

    async def _receive(self, subject: str, data: bytes) -> None:
        if not subjects.is_event(subject):
            return
        try:
            event = envelope.decode(data)
        except InvalidInput:
            log.warning("ignored a message on %r that is no event", subject)
            return
        text = data.decode()
        if self._behind:
            self._hold(event, text)
        else:
            self._pass_on(event, text)

    def _hold(self, event: Event, text: str) -> None:
        self._held.append((event, text))
        if len(self._held) > HELD_MAX:
            self._fall_behind()

    def _pass_on(self, event: Event, text: str) -> None:
        self._newest = max(self._newest, event.id)
        if self._seen.is_new(event):
            for listener in self._listeners:
                listener.offer(event, text)

    # ---- gaps ----

    def _fall_behind(self) -> None:
        if not self._behind:
            self._behind_since_s = time.monotonic()
        self._behind = True
        self._losses += 1
        self._held.clear()  # all of it is in Postgres
        self._wake.set()

    async def _watch(self) -> None:
        while True:
            if self._behind:
                try:
                    await self._catch_up()
                except ServiceUnavailable as error:
                    log.warning("cannot catch up yet: %s", error)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_S)
            self._wake.clear()

    async def _catch_up(self) -> None:
        losses = self._losses
        live = await self._hears()
        self._held.clear()
        missed = await asyncio.to_thread(self._missed)
        for event in missed:
            self._pass_on(event, envelope.encode(event))
        if not live or losses != self._losses:
            return
        while self._held:
            self._pass_on(*self._held.popleft())
        self._behind = False

    async def _hears(self) -> bool:
        """Whether every message from now on reaches this hub."""
        if self._bus is None or not self._subscribed:
            return False
        try:
            await self._bus.flush()
        except ServiceUnavailable:
            return False
        return True

    def _missed(self) -> list[Event]:
        with self._database.transaction() as connection:
            if self._first is None:
                self._first = self._newest = events.newest_id(connection)
            floor = max(self._first, self._newest - events.LATE_IDS)
            within_s = time.monotonic() - self._behind_since_s + MARGIN_S
            return events.missed(connection, floor, within_s)
