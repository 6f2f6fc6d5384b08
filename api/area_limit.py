"""What an area is told that has too many vertices to be read at all."""

import asyncio
from contextlib import suppress

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.limits import MAX_BODY_BYTES, declared_bytes, too_large
from api.vertices import Vertices
from constellation_pipelines.geo.aoi import MAX_VERTICES, too_many_vertices

# What takes an area, and the member of its body that the area comes in.
AREAS = {
    ("POST", "/api/v1/jobs"): "aoi",
    ("POST", "/api/v1/jobs/quote"): "aoi",
    ("POST", "/api/v1/areas"): "geometry",
}
MAX_COUNTED_BYTES = 64 * 1024 * 1024  # room for a million vertices however they are written
COUNTED_AT_ONCE = 4  # bodies: others wait unread, so that what else is asked is soon answered
COUNTING_S = 20.0  # and no longer, waiting included, for someone who sends slowly
ADVICE = ": write the area's coordinates with 6 decimals, or simplify it"


class AreaLimit:
    """Refuses a body that is too large because of its area with a pointer at the area.

    Its vertices are counted as they pass by; nothing of it is kept or parsed. What may be read
    goes on as it came, and what is too large for another reason is refused as BodyLimit does.
    """

    def __init__(self, app: ASGIApp, counting_s: float = COUNTING_S) -> None:
        self._app = app
        self._counting_s = counting_s
        self._turns = asyncio.Semaphore(COUNTED_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 422 or 413."""
        member = AREAS.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        declared = declared_bytes(scope) if member is not None else 0
        may_be_read = 0 < declared <= MAX_BODY_BYTES
        if member is None or may_be_read or declared > MAX_COUNTED_BYTES:
            await self._app(scope, receive, send)
            return
        body = Passing(receive)
        if declared == 0:  # none is given: as much is kept as may be read
            await body.read(MAX_BODY_BYTES, keep=True)
            if body.size_bytes <= MAX_BODY_BYTES:
                await self._app(scope, body.replayed, send)
                return
        await self._count(body)
        await refusal_of(body, member, scope)(scope, receive, send)

    async def _count(self, body: "Passing") -> None:
        """Let the rest of a body pass by, while it comes in time and within the size."""
        body.forget()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._counting_s), self._turns:
                await body.read(MAX_COUNTED_BYTES, keep=False)


def refusal_of(body: "Passing", member: str, scope: Scope) -> errors.ProblemResponse:
    """What is said of a body that is not read, by what of it has passed."""
    count = body.vertices.count
    if count <= MAX_VERTICES or body.size_bytes > MAX_COUNTED_BYTES:
        return too_large(MAX_BODY_BYTES, ADVICE if count else "")
    came = f"about {count}" if body.has_ended else f"at least {count}"
    refusal = errors.on_known(Request(scope), too_many_vertices(member, came))
    if not body.has_ended:
        refusal.headers["Connection"] = "close"
    return refusal


class Passing:
    """A body as it comes in."""

    def __init__(self, receive: Receive) -> None:
        self.size_bytes = 0
        self.vertices = Vertices()
        self._receive = receive
        self._kept = bytearray()  # many small parts would take more room one by one
        self._end: Message | None = None  # the last message of it, once that has come

    @property
    def has_ended(self) -> bool:
        """Whether all of it has come."""
        return self._end is not None

    async def read(self, max_bytes: int, *, keep: bool) -> None:
        """Read on to its end, or until it has more than so many bytes."""
        while self._end is None and self.size_bytes <= max_bytes:
            message = await self._receive()
            part = message.get("body", b"")
            self.size_bytes += len(part)
            self.vertices.take(part)
            if keep:
                self._kept += part
            if not message.get("more_body", False):
                self._end = message

    def forget(self) -> None:
        """Let go of what was kept."""
        self._kept = bytearray()

    async def replayed(self) -> Message:
        """What was kept, as one message; behind it what else comes, such as that they are gone."""
        if self._end is None:
            return await self._receive()
        end, self._end = self._end, None
        if end["type"] == "http.disconnect":
            return end
        body = bytes(self._kept)
        self.forget()
        return {"type": "http.request", "body": body, "more_body": False}
