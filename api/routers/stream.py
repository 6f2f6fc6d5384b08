"""The WebSocket of events."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from api.deps import HubPart, tenancy_of, until_signed_out
from api.live import Hub
from api.memory import Listener
from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.events import envelope

router = APIRouter()

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
SIGNED_OUT = 4401
HEARTBEAT_S = 15.0
CLOSE_TIMEOUT_S = 5.0
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """Which events a socket wants: of one job or all, from now on or after an id."""

    job_id: UUID | None = None
    after: int | None = None

    @classmethod
    def parse(cls, params: dict[str, str]) -> "StreamQuery":
        """From the query's text. Raises InvalidInput."""
        if unknown := sorted(set(params) - {"job_id", "after"}):
            raise InvalidInput(f"unknown parameter {unknown[0][:40]!r}: use job_id and after")
        return cls(job_id_of(params.get("job_id")), after_of(params.get("after")))


@router.websocket("/api/v1/stream")
async def stream(websocket: WebSocket, hub: HubPart) -> None:
    """Send one event envelope per frame.

    With `job_id`, events of one job; with `after`, first all that came after that event id. Of one
    job each event comes once, in order. On the stream of all jobs an event may come again after the
    API was started anew, never not at all: drop an id that is not above the last one of its job. A
    frame of type `heartbeat` comes after 15 quiet seconds. Code 1008 says what was wrong with the
    parameters, 1013 that the reader is too slow or the database away: connect again with the last
    id; 4401 that the key or session has ended.
    """
    await websocket.accept()
    try:
        query = StreamQuery.parse(dict(websocket.query_params))
    except InvalidInput as error:
        await websocket.close(POLICY_VIOLATION, error.message[:120])
        return
    listener = Listener(query.job_id, tenancy=tenancy_of(websocket))
    try:
        await serve(websocket, hub, listener, query.after)
    finally:
        hub.remove(listener)


async def serve(websocket: WebSocket, hub: Hub, listener: Listener, after: int | None) -> None:
    """Send until the client leaves, or is too slow, or Postgres is away."""
    if after is None:
        hub.add(listener)
    sending = asyncio.create_task(send_all(websocket, hub, listener, after))
    leaving = asyncio.create_task(until_gone(websocket))
    lagging = asyncio.create_task(listener.too_slow.wait())
    out = asyncio.create_task(until_signed_out(websocket))
    tasks: set[asyncio.Task[Any]] = {sending, leaving, lagging, out}
    code = TRY_AGAIN_LATER
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        reason = None if leaving.done() else closing_reason(sending, lagging)
        if out.done() and not leaving.done():
            code, reason = SIGNED_OUT, "the key or session has ended: sign in again"
    finally:
        await cancel_all(tasks)
    if reason is not None:
        with suppress(asyncio.TimeoutError, WebSocketDisconnect, RuntimeError):
            await asyncio.wait_for(websocket.close(code, reason), CLOSE_TIMEOUT_S)


async def send_all(websocket: WebSocket, hub: Hub, listener: Listener, after: int | None) -> None:
    """What was missed, then what comes; a heartbeat in silence."""
    if after is not None:
        await hub.replay(listener, after, websocket.send_text)
    while True:
        try:
            text = await asyncio.wait_for(listener.next(), HEARTBEAT_S)
        except TimeoutError:
            text = envelope.heartbeat()
        await websocket.send_text(text)


async def until_gone(websocket: WebSocket) -> None:
    """Drop what the client sends until it is gone."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def closing_reason(sending: "asyncio.Task[None]", lagging: "asyncio.Task[bool]") -> str | None:
    """Why to close the socket from here, if the client did not leave."""
    if lagging.done():
        return "this reader is too slow: connect again with after=<last id>"
    if sending.done() and isinstance(sending.exception(), ServiceUnavailable):
        return "the database does not answer right now: connect again with after=<last id>"
    return None


async def cancel_all(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """End these tasks; what went wrong in them because the client left is of no interest."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        expected = (asyncio.CancelledError, WebSocketDisconnect, ServiceUnavailable, RuntimeError)
        if isinstance(outcome, BaseException) and not isinstance(outcome, expected):
            raise outcome


def job_id_of(text: str | None) -> UUID | None:
    """The job asked for. Raises InvalidInput."""
    try:
        return None if text is None else UUID(text)
    except ValueError as error:
        raise InvalidInput("job_id must be a UUID", field="job_id") from error


def after_of(text: str | None) -> int | None:
    """The id to resume after. Raises InvalidInput."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > MAX_ID:
        raise InvalidInput("after must be the id of an event, a whole number", field="after")
    return int(text)
