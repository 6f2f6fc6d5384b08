"""What the hub remembers of events."""

from collections import OrderedDict, deque
from itertools import islice
from uuid import UUID

from api.live.interest import Message
from constellation_pipelines.domain.event import Event

JOBS_REMEMBERED = 10_000
RECENT_MAX = 10_000


class Watermarks:
    """The last id seen of each job: a job's ids only grow, so one number tells old from new."""

    def __init__(self) -> None:
        self._last: OrderedDict[UUID | None, int] = OrderedDict()

    def has_seen(self, event: Event) -> bool:
        """Whether this event, or a later one of its job, was seen."""
        return event.id <= self._last.get(event.job_id, 0)

    def is_new(self, event: Event) -> bool:
        """Whether this event was not seen before; it is from now on."""
        if self.has_seen(event):
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
        self._position_of: dict[int | None, int] = {}
        self.end = 0

    def add(self, message: Message) -> None:
        """Remember a message, and forget the oldest when there are too many."""
        if len(self._messages) == self._messages.maxlen:
            del self._position_of[self._messages[0].id]
        self._messages.append(message)
        self._position_of[message.id] = self.end
        self.end += 1

    def position_after(self, id: int) -> int | None:
        """The position behind the event of this id, None when it is not remembered."""
        position = self._position_of.get(id)
        return None if position is None else position + 1

    def since(self, position: int) -> list[Message] | None:
        """Messages from this position on, None when some of them are forgotten."""
        skipped = position - (self.end - len(self._messages))
        return None if skipped < 0 else list(islice(self._messages, skipped, None))
