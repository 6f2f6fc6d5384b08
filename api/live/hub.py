"""The hub: events from NATS, fanned out to WebSocket clients; Postgres fills every gap."""

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from uuid import UUID

from api.live.interest import Interest, Message, Wishes, topic_of
from api.live.memory import Recent, Watermarks
from api.live.rooms import Listener, Rooms, frames_of
from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.domain.event import Event
from constellation_pipelines.events import envelope, subjects
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.store import events
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.tenancy import EVERYONE, Tenancy

HELD_MAX = 100_000  # messages kept while Postgres is asked for what was missed
REPLAY_PAGE = 500
AT_ONCE = 1 << 20  # characters that a reader need not have room for
POLL_S = 1.0  # how often Postgres is asked while NATS is away
MARGIN_S = 30.0  # how long before a lost connection messages may have gone missing

log = logging.getLogger(__name__)


class Hub:
    """Takes every event once and offers it to all listeners.

    It is either *live*, when messages from NATS are passed on as they come, or *behind*, when
    messages may have been missed: then they are held, Postgres is asked each second, and the hub is
    live again once it has asked with NATS connected. Without a bus it stays behind and polls.
    """

    def __init__(self, database: Database, bus: Bus | None) -> None:
        self._database = database.bound(EVERYONE)
        self._bus = bus
        self._rooms = Rooms()
        self._seen = Watermarks()
        self._recent = Recent()
        self._behind = True
        self._behind_since_s = time.monotonic()
        self._held: deque[tuple[Event, Message]] = deque()
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

    def join(self, listener: Listener, interest: Interest) -> None:
        """Offer this listener what it is interested in too, from now on."""
        self._rooms.enter(listener, listener.wishes.also(interest))

    def unjoin(self, listener: Listener, interest: Interest) -> None:
        """Offer it these topics no more."""
        self._rooms.enter(listener, listener.wishes.without(interest))

    def remove(self, listener: Listener) -> None:
        """Offer it nothing any more."""
        self._rooms.leave(listener)

    def offer(self, message: Message) -> None:
        """Pass on something that is no event."""
        self._rooms.offer(message)

    async def replay(self, listener: Listener, interest: Interest, after: int) -> None:
        """Send the events that came after event `after`, then join without a gap or a double.

        Raises ServiceUnavailable when Postgres is needed and does not answer.
        """
        wishes = Wishes(frozenset((interest,)), listener.wishes.account)
        replayed: set[int | None] = set()
        position = self._recent.position_after(after)
        while True:
            recent = None if position is None else self._recent.since(position)
            position = self._recent.end
            if recent is None:
                after = await self._replay_stored(listener, wishes, after, replayed)
                continue
            wanted = [one for one in recent if wishes.wants(one) and one.id not in replayed]
            replayed |= {one.id for one in wanted}
            listener.replayed -= {one.id for one in recent if one.id is not None}
            if sum(len(one.text) for one in wanted) <= AT_ONCE:
                break
            await listener.send(wanted)
        # From here on without waiting, so that no message falls in between.
        for frame in frames_of(one.text for one in wanted):
            listener.put(frame)
        self.join(listener, interest)

    async def _replay_stored(
        self, listener: Listener, wishes: Wishes, after: int, replayed: set[int | None]
    ) -> int:
        """Send what Postgres has after event `after`; return the last id."""
        (interest,) = wishes.interests
        while True:
            page = await asyncio.to_thread(self._page, listener.tenancy, interest.job_id, after)
            found = [message_of(event) for event in page if event.id not in replayed]
            wanted = [message for message in found if wishes.wants(message)]
            replayed |= {message.id for message in wanted}
            listener.replayed |= {event.id for event in page if not self._seen.has_seen(event)}
            await listener.send(wanted)
            newer = [event.id for event in page if event.id > after]
            after = max(newer, default=after)
            if len(newer) < REPLAY_PAGE:
                return after

    def _page(self, tenancy: Tenancy, job_id: UUID | None, after: int) -> list[Event]:
        with self._database.bound(tenancy).transaction() as connection:
            if job_id is None:
                return events.after(connection, after, REPLAY_PAGE)
            return events.of_job_after(connection, job_id, after, REPLAY_PAGE)

    # ---- events in ----

    async def _subscribe(self) -> None:
        if self._bus is None:
            return
        while not self._subscribed:
            await self._bus.connect()
            try:
                await self._bus.subscribe(subjects.EVERYTHING, self._receive)
                self._subscribed = True
            except ServiceUnavailable:  # lost again in between
                await asyncio.sleep(POLL_S)
        self._wake.set()

    async def _receive(self, subject: str, data: bytes) -> None:
        if not subjects.is_event(subject):
            return
        try:
            event = envelope.decode(data, account=subjects.account_of(subject))
        except InvalidInput:
            log.warning("ignored a message on %r that is no event", subject)
            return
        message = message_of(event, data.decode())
        if self._behind:
            self._hold(event, message)
        else:
            self._pass_on(event, message)

    def _hold(self, event: Event, message: Message) -> None:
        self._held.append((event, message))
        if len(self._held) > HELD_MAX:
            self._fall_behind()

    def _pass_on(self, event: Event, message: Message) -> None:
        self._newest = max(self._newest, event.id)
        if self._seen.is_new(event):
            self._recent.add(message)
            self._rooms.offer(message)

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
                except Exception:  # were this task to end, every socket would fall silent
                    log.exception("cannot catch up yet")
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_S)
            self._wake.clear()

    async def _catch_up(self) -> None:
        losses = self._losses
        live = await self._hears()
        self._held.clear()
        missed = await asyncio.to_thread(self._missed)
        for event in missed:
            self._pass_on(event, message_of(event))
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


def message_of(event: Event, text: str | None = None) -> Message:
    """The event with its envelope, which need not be encoded again where it came in one."""
    topic = topic_of(event.type)
    return Message(topic, event.id, event.job_id, event.account, text or envelope.encode(event))
