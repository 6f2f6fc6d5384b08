"""Limits on requests, before anything reads them."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ProblemResponse, problem

MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024  # of all headers; httptools has no limit of its own
POLICY_VIOLATION = 1008


class HeaderLimit:
    """Refuses requests whose headers are larger than any honest client's."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_HEADER_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 431; a WebSocket is closed with 1008."""
        found = sum(len(name) + len(value) for name, value in scope.get("headers", ()))
        if found <= self._max_bytes:
            await self._app(scope, receive, send)
            return
        reason = f"the headers may have {self._max_bytes} bytes at most"
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
        else:
            refusal = problem(431, "headers_too_large", reason, headers={"Connection": "close"})
            await refusal(scope, receive, send)


class BodyLimit:
    """Refuses bodies above a size: by their declared length, else once that much has come."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif declared_bytes(scope) > self._max_bytes:
            await too_large(self._max_bytes)(scope, receive, send)
        else:
            await self._app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        seen_bytes = 0

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > self._max_bytes:
                raise HTTPException(413, allowed(self._max_bytes), headers={"Connection": "close"})
            return message

        return counted


def allowed(max_bytes: int) -> str:
    """How large a body may be, in words."""
    return f"the body may have {max_bytes} bytes at most"


def too_large(max_bytes: int, advice: str = "") -> ProblemResponse:
    """The refusal of a body above a size."""
    return problem(
        413, "body_too_large", allowed(max_bytes) + advice, headers={"Connection": "close"}
    )


def declared_bytes(scope: Scope) -> int:
    """The Content-Length, 0 where none is given."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
