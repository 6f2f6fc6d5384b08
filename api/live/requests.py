"""What a client may ask of the stream."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from api.live.interest import EVENTS, Interest, Topic
from constellation_pipelines.domain.errors import InvalidInput

MAX_ID = 2**63 - 1
KEYS = {"subscribe", "unsubscribe", "job_id", "after", "after_log"}
TOPICS = ", ".join(topic.value for topic in Topic)


@dataclass(frozen=True, slots=True)
class Request:
    """Hear of something, or no more. `after` and `after_log` are where to resume; None is now."""

    subscribe: bool
    interest: Interest
    after: int | None = None
    after_log: int | None = None


def first_request(params: dict[str, str]) -> Request | None:
    """What the URL asks for: without parameters all events, with `topics=none` nothing yet.

    Raises InvalidInput.
    """
    if unknown := sorted(set(params) - {"job_id", "after", "topics"}):
        raise InvalidInput(f"unknown parameter {unknown[0][:40]!r}: use job_id, after and topics")
    topics = params.get("topics")
    if topics == "none":
        return None
    wanted = EVENTS if topics is None else topics_of(topics.split(","))
    after = params.get("after")
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 20):
        raise InvalidInput("after must be the id of an event, a whole number", field="after")
    number = None if after is None else id_of(int(after), "after")
    return request_of(True, wanted, job_id_of(params.get("job_id")), number, None)


def parse_request(text: str) -> Request:
    """A client's message. Raises InvalidInput."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("a request is a JSON object") from error
    if not isinstance(said, dict):
        raise InvalidInput("a request is a JSON object")
    if unknown := sorted(set(said) - KEYS):
        raise InvalidInput(f"unknown member {unknown[0][:40]!r} of a request")
    if ("subscribe" in said) == ("unsubscribe" in said):
        raise InvalidInput("a request has either subscribe or unsubscribe")
    topics = topics_of(said.get("subscribe", said.get("unsubscribe")))
    after, after_log = (
        None if said.get(name) is None else id_of(said[name], name)
        for name in ("after", "after_log")
    )
    return request_of("subscribe" in said, topics, job_id_of(said.get("job_id")), after, after_log)


def request_of(
    subscribe: bool,
    topics: frozenset[Topic],
    job_id: UUID | None,
    after: int | None,
    after_log: int | None,
) -> Request:
    """The request, if it makes sense. Raises InvalidInput."""
    if Topic.LOGS in topics and job_id is None:
        raise InvalidInput("logs are those of one job: name it in job_id", field="job_id")
    return Request(subscribe, Interest(topics, job_id), after, after_log)


def topics_of(names: Any) -> frozenset[Topic]:
    """The topics of these names. Raises InvalidInput."""
    if not isinstance(names, list) or not names:
        raise InvalidInput(f"name topics in a list: {TOPICS}")
    try:
        return frozenset(Topic(name) for name in names)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"topics are: {TOPICS}") from error


def job_id_of(text: Any) -> UUID | None:
    """The job asked for. Raises InvalidInput."""
    try:
        return None if text is None else UUID(text)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput("job_id must be a UUID", field="job_id") from error


def id_of(value: Any, name: str) -> int:
    """The id to resume after. Raises InvalidInput."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
        raise InvalidInput(f"{name} must be the id of an event, a whole number", field=name)
    return value
