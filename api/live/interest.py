"""What a reader wants to hear of."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Topic(StrEnum):
    """Kinds of messages."""

    JOBS = "jobs"
    RUNS = "runs"
    TILES = "tiles"
    LOGS = "logs"
    GPUS = "gpus"


EVENTS = frozenset((Topic.JOBS, Topic.RUNS, Topic.TILES))  # what Postgres has kept


@dataclass(frozen=True, slots=True)
class Message:
    """Something to hear of: its envelope, encoded once for all readers.

    `id` is the event's, or the log line's number in its stream; samples have none.
    """

    topic: Topic
    id: int | None
    job_id: UUID | None
    account: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Interest:
    """Topics of one job, or of all."""

    topics: frozenset[Topic]
    job_id: UUID | None = None

    def wants(self, message: Message) -> bool:
        """Whether this message is among them."""
        of_it = self.job_id is None or self.job_id == message.job_id
        return of_it and message.topic in self.topics


@dataclass(frozen=True, slots=True)
class Wishes:
    """All that a reader wants, and may hear: `account` is None for one that may hear everything."""

    interests: frozenset[Interest] = frozenset()
    account: str | None = None

    def wants(self, message: Message) -> bool:
        """Whether the reader gets this message."""
        return self.may_have(message) and any(one.wants(message) for one in self.interests)

    def may_have(self, message: Message) -> bool:
        """Whether the message is the reader's to hear, wanted or not."""
        return self.account is None or message.account in (None, self.account)

    def also(self, interest: Interest) -> "Wishes":
        """With another interest."""
        return Wishes(self.interests | {interest}, self.account)

    def without(self, interest: Interest) -> "Wishes":
        """Without these topics of that job, or of all."""
        left = {
            Interest(one.topics - interest.topics, one.job_id)
            if one.job_id == interest.job_id
            else one
            for one in self.interests
        }
        return Wishes(frozenset(one for one in left if one.topics), self.account)


def topic_of(type: str) -> Topic:
    """The topic of an event of type `<noun>.<fact>`."""
    noun = type.partition(".")[0]
    return {"run": Topic.RUNS, "tile": Topic.TILES}.get(noun, Topic.JOBS)
