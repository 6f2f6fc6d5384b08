"""What the hub and its listeners remember of events."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from constellation_pipelines.domain.event import Event
from constellation_pipelines.store.tenancy import NOBODY, Tenancy

QUEUE_MAX = 1000  # messages a reader may be behind before its socket is closed
JOBS_REMEMBERED = 10_000
RECENT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """An event and its envelope, encoded once for all readers."""

    event: Event
    text: str


class Watermarks:
    """The last id seen of each job: a job's ids only grow, so one number tells old from new."""

    def __init__(self) -> None:
        self._last: OrderedDict[UUID | None, int] = OrderedDict()

    def is_new(self, event: Event) -> bool:
        """Whether this event was not seen before; it is from now on."""
        if event.id <= self._last.get(event.job_id, 0):
            return False
        self._last[event.job_id] = event.id
        self._last.move_to_end(event.job_id)
        if len(self._last) > JOBS_REMEMBERED:
            self._last.popitem(last=False)
        return True


class Recent:
    """The last messages in the order in which they were passed on, which is not that of their ids.

    Positions count the messages that were ever added.
    """

    def __init__(self, most: int = RECENT_MAX) -> None:
        self._messages: deque[Message] = deque(maxlen=most)
        self._position_of: dict[int, int] = {}
        self.end = 0

    def add(self, message: Message) -> None:
        """Remember a message, and forget the oldest when there are too many."""
        if len(self._messages) == self._messages.maxlen:
            del self._position_of[self._messages[0].event.id]
        self._messages.append(message)
        self._position_of[message.event.id] = self.end
        self.end += 1

    def position_after(self, id: int) -> int | None:
        """The position behind the event of this id, None when it is not remembered."""
        position = self._position_of.get(id)
        return None if position is None else position + 1

    def since(self, position: int) -> list[Message] | None:
        """Messages from this position on, None when some of them are forgotten."""
        skipped = position - (self.end - len(self._messages))
        return None if skipped < 0 else list(islice(self._messages, skipped, None))


class Listener:
    """One reader of the hub: what it wants and may see, and the messages it has not taken yet."""

    def __init__(
        self,
        job_id: UUID | None = None,
        *,
        tenancy: Tenancy = NOBODY,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self.job_id = job_id
        self.tenancy = tenancy
        self.too_slow = asyncio.Event()
        self._replayed: set[int] = set()
        self._queue: asyncio.Queue[Message] = asyncio.Queue(queue_max)

    def offer(self, message: Message) -> None:
        """Queue a message; a reader with a full queue is marked as too slow and gets no more."""
        if self.too_slow.is_set() or not self._wants(message.event):
            return
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.too_slow.set()

    def unsent(self, messages: list[Message]) -> Iterator[Message]:
        """Those of a replay that this reader wants and has not got; it has from now on."""
        for message in messages:
            if self._wants(message.event) and message.event.id not in self._replayed:
                self._replayed.add(message.event.id)
                yield message

    async def next(self) -> str:
        """The next message that was not part of a replay."""
        while True:
            message = await self._queue.get()
            if message.event.id not in self._replayed:
                return message.text
            self._replayed.discard(message.event.id)

    def _wants(self, event: Event) -> bool:
        may_see = self.tenancy.sees_all or self.tenancy.account == event.account
        return may_see and (self.job_id is None or self.job_id == event.job_id)
