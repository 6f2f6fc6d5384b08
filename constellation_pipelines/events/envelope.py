"""The form in which events travel: over NATS and to browsers."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.event import Event

MAX_PAYLOAD_BYTES = 256 * 1024  # NATS takes 1 MiB; a hint needs far less


def encode(event: Event) -> str:
    """One line of JSON: `id`, `type`, `at`, `job_id`, `run_id`, `payload`.

    A payload that would be too large is replaced by {"truncated": true}: an event says that
    something happened, and who needs all of it asks the API.
    """
    payload = compact(event.payload)
    if len(payload) > MAX_PAYLOAD_BYTES:
        payload = '{"truncated":true}'
    head = {
        "id": event.id,
        "type": event.type,
        "at": event.at.isoformat(),
        "job_id": None if event.job_id is None else str(event.job_id),
        "run_id": None if event.run_id is None else str(event.run_id),
    }
    return f'{compact(head)[:-1]},"payload":{payload}}}'


def decode(data: bytes | str, *, account: str = "") -> Event:
    """The event in an envelope. Raises InvalidInput for anything else."""
    try:
        found = json.loads(data)
        return Event(
            id=int(found["id"]),
            type=str(found["type"]),
            at=datetime.fromisoformat(found["at"]),
            job_id=None if found["job_id"] is None else UUID(found["job_id"]),
            run_id=None if found["run_id"] is None else UUID(found["run_id"]),
            account=account,
            payload=dict(found["payload"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidInput("this message is not an event envelope") from error


def heartbeat() -> str:
    """An envelope without an id that only says that the connection lives."""
    return note("heartbeat")


def note(type: str, *, job_id: UUID | None = None, payload: dict[str, Any] | None = None) -> str:
    """An envelope without an id: something about the stream itself."""
    head: dict[str, Any] = {"id": None, "type": type, "at": datetime.now(UTC).isoformat()}
    job = None if job_id is None else str(job_id)
    return compact(head | {"job_id": job, "run_id": None, "payload": payload or {}})


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))
