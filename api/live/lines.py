"""Log lines of runs: from the stream that NATS keeps, from the first one to the live tail."""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from api.live.follower import Follower
from api.live.interest import Interest, Message, Topic
from api.live.rooms import Listener, frames_of
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.events import streams, subjects
from constellation_pipelines.events.bus import Bus

RECENT_MAX = 5000
PAGE = 500  # lines in a frame of a replay
REPLAY_WAIT_S = 5.0

Join = Callable[[], None]

log = logging.getLogger(__name__)


class Lines:
    """Offers every line, numbered by its place in the stream, and replays those of one job."""

    def __init__(self, bus: Bus | None, offer: Callable[[Message], None]) -> None:
        self._bus = bus
        self._offer = offer
        self._recent: deque[Message] = deque(maxlen=RECENT_MAX)
        self._forgotten = 0  # the number of the last line that is in `_recent` no more
        self._follower = None if bus is None else Follower(bus, streams.LOGS, self._receive)

    def start(self) -> None:
        """Begin to listen; NATS need not be there yet."""
        if self._follower is not None:
            self._follower.start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._follower is not None:
            await self._follower.stop()

    async def ready(self) -> None:
        """Raises ServiceUnavailable where NATS is not reached."""
        if self._bus is None or not self._bus.connected:
            raise ServiceUnavailable("log lines need NATS, which is not reached right now")

    async def replay(self, job_id: UUID, after: int, listener: Listener, join: Join) -> None:
        """Send the kept lines of a job above number `after`, then call `join`, without a gap or a
        double between the two. Raises ServiceUnavailable where NATS is not reached.
        """
        await self.ready()
        assert self._bus is not None
        if after > (await self._bus.newest_of(streams.LOGS_NAME)).number:
            after = 0  # the number of a stream that NATS has lost since, or of none
        while True:
            kept = await self._of_job(job_id, after)
            found = [message for message in kept if listener.wishes.may_have(message)]
            after = max((message.id or 0 for message in kept), default=after)
            for start in range(0, len(found), PAGE):
                await listener.send(found[start : start + PAGE])
            await self._caught_up(after)
            if after >= self._forgotten:
                break
        # From here on without waiting, so that no line falls in between.
        join()
        interest = Interest(frozenset((Topic.LOGS,)), job_id)
        wishes = listener.wishes.also(interest)
        texts = [m.text for m in self._recent if wishes.wants(m) and (m.id or 0) > after]
        for frame in frames_of(texts):
            listener.put(frame)

    async def _caught_up(self, number: int) -> None:
        """Wait until the lines up to this number were offered: none of them comes again then."""
        deadline = time.monotonic() + REPLAY_WAIT_S
        follower = self._follower
        while follower is not None and (follower.last or 0) < number:
            if time.monotonic() > deadline:
                raise ServiceUnavailable("log lines come too slowly right now")
            await asyncio.sleep(0.01)

    async def _of_job(self, job_id: UUID, after: int) -> list[Message]:
        """The kept lines of a job with a number above `after`, in their order.

        Raises ServiceUnavailable where NATS is not reached.
        """
        assert self._bus is not None
        subject = subjects.logs_of_job(job_id)
        if await self._bus.kept(streams.LOGS_NAME, subject) == 0:
            return []
        found: list[Message] = []
        whole = asyncio.Event()

        async def receive(number: int, subject: str, data: bytes, pending: int) -> None:
            if (message := message_of(number, subject, data)) is not None:
                found.append(message)
            if pending == 0:
                whole.set()

        subscription = await self._bus.follow(streams.LOGS_NAME, subject, after, receive)
        try:
            # Nothing comes where all kept lines are older than `after`.
            wait_s = REPLAY_WAIT_S if after == 0 else 0.5
            while True:
                before = len(found)
                try:
                    await asyncio.wait_for(whole.wait(), wait_s)
                    return found
                except TimeoutError:
                    if len(found) == before:
                        return found
        finally:
            with suppress(Exception):
                await subscription.unsubscribe()

    async def _receive(self, number: int, subject: str, data: bytes, _pending: int) -> None:
        if (message := message_of(number, subject, data)) is not None:
            if self._recent and number < (self._recent[-1].id or 0):
                self._recent.clear()  # NATS has lost the stream, and counts anew
                self._forgotten = 0
            if len(self._recent) == RECENT_MAX:
                self._forgotten = self._recent[0].id or 0
            self._recent.append(message)
            self._offer(message)


def message_of(number: int, subject: str, data: bytes) -> Message | None:
    """A line with its number as the envelope's id; None for what is none."""
    try:
        said: dict[str, Any] = json.loads(data)
        job_id = UUID(said["job_id"])
    except (ValueError, KeyError, TypeError):
        log.warning("ignored a message on %r that is no log line", subject)
        return None
    text = json.dumps({"id": number, **said}, separators=(",", ":"))
    return Message(Topic.LOGS, number, job_id, subjects.account_of(subject), text)
