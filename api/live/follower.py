"""A reader of one of NATS' streams that goes on after every loss."""

import asyncio
import logging
from contextlib import suppress

from nats.js.api import StreamConfig

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.events.bus import Bus, Receive

RETRY_S = 1.0

log = logging.getLogger(__name__)


class Follower:
    """Hands on every message of a stream once, in order: `receive(number, subject, data, pending)`.

    It begins with what comes from now on, or `from_first` with all that is kept. `last` is the
    number of the last message that was handed on, or was there before; None before the first look.
    """

    def __init__(
        self, bus: Bus, stream: StreamConfig, receive: Receive, *, from_first: bool = False
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._receive = receive
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._made_at: str | None = None
        self.last: int | None = 0 if from_first else None
        bus.on_lost(self._lost.set)

    def start(self) -> None:
        """Begin to listen; NATS need not be there yet."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        name, (subject,) = str(self._stream.name), self._stream.subjects or [""]
        while True:
            await self._bus.connect()
            self._lost.clear()
            try:
                await self._bus.ensure(self._stream)
                newest = await self._bus.newest_of(name)
                if self.last is None:
                    self.last = newest.number
                elif self._made_at not in (None, newest.made_at):
                    self.last = 0  # NATS has lost the stream, and counts anew
                self._made_at = newest.made_at
                subscription = await self._bus.follow(name, subject, self.last, self._hand_on)
            except ServiceUnavailable as error:
                log.debug("%s is not heard yet: %s", name, error)
                await asyncio.sleep(RETRY_S)
                continue
            await self._lost.wait()
            with suppress(Exception):  # its connection is gone
                await subscription.unsubscribe()
            await asyncio.sleep(RETRY_S)

    async def _hand_on(self, number: int, subject: str, data: bytes, pending: int) -> None:
        if self.last is not None and number <= self.last:
            return
        self.last = number
        await self._receive(number, subject, data, pending)
