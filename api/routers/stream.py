"""The WebSocket of all that is live."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from api.deps import HubPart, LinesPart, tenancy_of, until_signed_out
from api.live.hub import Hub
from api.live.interest import EVENTS, Interest, Topic
from api.live.lines import Lines
from api.live.requests import Request, first_request, parse_request
from api.live.rooms import Frame, Listener
from api.live.sockets import wire_of
from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.events import envelope

router = APIRouter()

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
SIGNED_OUT = 4401
HEARTBEAT_S = 15.0
CLOSE_TIMEOUT_S = 20.0
LONGEST_REQUEST = 4096
MOST_INTERESTS = 100
TOO_SLOW = "this reader is too slow: connect again with after=<last id>"
NO_DATABASE = "the database does not answer right now: connect again with after=<last id>"


@router.websocket("/api/v1/stream")
async def stream(websocket: WebSocket, hub: HubPart, lines: LinesPart) -> None:
    """Send what the client asks for: each frame is a JSON array of envelopes.

    The client says `{"subscribe": ["jobs", "runs", "tiles", "logs", "gpus"], "job_id": ...,
    "after": ..., "after_log": ...}` or the same with `unsubscribe`, as often as it likes; the
    parameters `job_id` and `after` of the URL stand for a first subscription to jobs, runs and
    tiles. Without `job_id` it is for all jobs; `logs` needs one. With `after`, first comes all that
    came after that event; with `after_log`, all lines after that one. `stream.subscribed` then says
    that what follows is live.

    Of one job each event comes once, in order. On the stream of all jobs an event may come again
    after the API was started anew, never not at all: drop an id that is not above the last one of
    its job. A `heartbeat` comes after 15 quiet seconds. Code 1008 says what was wrong with what the
    client asked, 1013 that the reader is too slow or the database away: connect again with the last
    id; 4401 that the key or session has ended.
    """
    await websocket.accept()
    session = Session(websocket, hub, lines, listener_of(websocket))
    try:
        await session.run()
    finally:
        hub.remove(session.listener)


def listener_of(websocket: WebSocket) -> Listener:
    """What hears for this socket."""
    return Listener(tenancy_of(websocket), wire=wire_of(websocket))


class Session:
    """One socket: what it hears is sent by one task, what it asks is done by another."""

    def __init__(self, websocket: WebSocket, hub: Hub, lines: Lines, listener: Listener) -> None:
        self._websocket = websocket
        self._hub = hub
        self._lines = lines
        self.listener = listener

    async def run(self) -> None:
        """Serve until the client leaves, asks what cannot be, or is too slow."""
        sending = asyncio.create_task(self._send())
        asking = asyncio.create_task(self._hear())
        lagging = asyncio.create_task(self.listener.too_slow.wait())
        out = asyncio.create_task(until_signed_out(self._websocket))
        tasks: set[asyncio.Task[Any]] = {sending, asking, lagging, out}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            closing = TRY_AGAIN_LATER, TOO_SLOW
            if out.done():
                closing = SIGNED_OUT, "the key or session has ended: sign in again"
            elif not lagging.done():
                closing = closing_of(asking)
        finally:
            await cancel_all(tasks)
        code, reason = closing
        if code:
            with suppress(asyncio.TimeoutError, WebSocketDisconnect, RuntimeError):
                await asyncio.wait_for(self._websocket.close(code, reason), CLOSE_TIMEOUT_S)

    async def _send(self) -> None:
        """Frames as they come; a heartbeat in silence."""
        while True:
            quiet_s = time.monotonic() - self.listener.put_at_s
            wait_s = HEARTBEAT_S - quiet_s if quiet_s < HEARTBEAT_S else HEARTBEAT_S
            try:
                frame = await asyncio.wait_for(self.listener.next(), wait_s)
            except TimeoutError:
                if time.monotonic() - self.listener.put_at_s < HEARTBEAT_S:
                    continue
                frame = Frame(f"[{envelope.heartbeat()}]")
            if frame is None:
                return
            await self._websocket.send_text(frame.text)

    async def _hear(self) -> None:
        """Do what the client asks, one thing after the other, until it is gone.

        Raises InvalidInput for what cannot be, ServiceUnavailable where something is away.
        """
        await self._do(first_request(dict(self._websocket.query_params)))
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            if text is None or len(text) > LONGEST_REQUEST:
                raise InvalidInput(f"a request is a text of at most {LONGEST_REQUEST} characters")
            await self._do(parse_request(text))

    async def _do(self, request: Request | None) -> None:
        if request is None:
            return
        interest = request.interest
        if not request.subscribe:
            self._hub.unjoin(self.listener, interest)
            return
        if len(self.listener.wishes.interests) >= MOST_INTERESTS:
            raise InvalidInput(f"a socket takes at most {MOST_INTERESTS} subscriptions")
        events = Interest(interest.topics & EVENTS, interest.job_id)
        others = Interest(interest.topics - EVENTS, interest.job_id)
        if events.topics and request.after is not None:
            await self._hub.replay(self.listener, events, request.after)
        elif events.topics:
            self._hub.join(self.listener, events)
        if Topic.LOGS in others.topics and request.after_log is not None:
            await self._replay_lines(others, request.after_log)
        elif others.topics:
            self._hub.join(self.listener, others)
        self.listener.put(Frame(f"[{subscribed(interest)}]"))

    async def _replay_lines(self, interest: Interest, after: int) -> None:
        """Kept lines, then the live ones."""
        assert interest.job_id is not None
        listener = self.listener
        await self._lines.replay(
            interest.job_id, after, listener, lambda: self._hub.join(listener, interest)
        )


def subscribed(interest: Interest) -> str:
    """An envelope that says from where on it is live."""
    return envelope.note(
        "stream.subscribed",
        job_id=interest.job_id,
        payload={"topics": sorted(interest.topics)},
    )


def closing_of(asking: "asyncio.Task[None]") -> tuple[int, str]:
    """Code and reason to close the socket with from here; code 0 where the client has left."""
    error = asking.exception() if asking.done() and not asking.cancelled() else None
    if isinstance(error, InvalidInput):
        return POLICY_VIOLATION, error.message[:120]
    if isinstance(error, ServiceUnavailable):
        return TRY_AGAIN_LATER, NO_DATABASE
    return 0, ""


async def cancel_all(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """End these tasks; what went wrong in them because the client left is of no interest."""
    for task in tasks:
        task.cancel()
    expected = (
        asyncio.CancelledError,
        WebSocketDisconnect,
        InvalidInput,
        ServiceUnavailable,
        RuntimeError,
    )
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, expected):
            raise outcome
