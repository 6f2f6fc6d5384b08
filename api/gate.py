"""The gate: every request to the API passes it before anything of it is read."""

import asyncio
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.deps import NOT_SIGNED_IN, address_of
from api.guard import Guard
from api.origins import SAFE_METHODS
from constellation_pipelines.domain import secret
from constellation_pipelines.domain.account import AT_THIS_MACHINE, Principal
from constellation_pipelines.domain.errors import (
    ConstellationError,
    Forbidden,
    ServiceUnavailable,
    TooManyRequests,
    Unauthenticated,
)

COOKIE = "constellation_session"
CSRF_HEADER = "x-csrf-token"
SIGN_IN = "/api/v1/session"  # where one asks to be let in
METRICS = "/metrics"  # where Prometheus looks for them

# 44xx as in HTTP; 1013 is to try again later.
SOCKET_CODES: dict[type, int] = {
    Unauthenticated: 4401,
    Forbidden: 4403,
    TooManyRequests: 1013,
    ServiceUnavailable: 1013,
}


class Gate:
    """Finds out who asks, counts their requests, and turns away whom nobody knows.

    `request.state.principal` is who asks, `request.state.token` by what; `request.state.session` is
    that too where it is a session's. `request.state.is_blind` means that the database could not
    be asked: whoever read metrics lately goes on with what needs none.
    """

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, 403, 429 or 503; a WebSocket is closed."""
        if scope["type"] in ("http", "websocket") and is_guarded(scope["path"]):
            try:
                await self._admit(scope)
            except ConstellationError as error:
                if scope["type"] == "websocket":
                    await close(receive, send, error)
                    return
                refusal = errors.on_known(Request(scope), error)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        state = scope.setdefault("state", {})
        headers = Headers(scope=scope)
        state["principal"] = state["session"] = state["token"] = None
        state["is_blind"] = False
        try:
            principal, token, session = await self._who(headers, address_of(HTTPConnection(scope)))
        except ServiceUnavailable:
            token, session = bearer_of(headers), None
            principal = self._guard.watchers.lately(token or "")
            if scope["path"] != METRICS or principal is None:
                raise
            state["is_blind"] = True
        if principal is None:
            if scope["path"] != SIGN_IN:
                raise Unauthenticated(NOT_SIGNED_IN)
            return
        reads = scope["type"] == "websocket" or scope["method"] in SAFE_METHODS
        if session is not None and not reads and scope["path"] != SIGN_IN:
            check_csrf(headers, session)
        self._guard.take_turn(principal, reads=reads)
        if scope["path"] == METRICS and token is not None and not state["is_blind"]:
            self._guard.watchers.note(token, principal)
        state["principal"], state["token"], state["session"] = principal, token, session

    async def _who(
        self, headers: Headers, address: str
    ) -> tuple[Principal | None, str | None, str | None]:
        """Who asks, None where they do not say; by what; and that again if it is a session."""
        token = bearer_of(headers)
        if token is not None:
            if secret.is_session(token):
                raise Unauthenticated("a session's token comes in its cookie only")
            return await self._named(token, address), token, None
        session = cookie_of(headers)
        if session is not None:
            try:
                return await self._named(session, address), session, session
            except Unauthenticated:
                pass  # a browser sends what it has, also to where it is not needed
        return (None if self._guard.required else AT_THIS_MACHINE), None, None

    async def _named(self, token: str, address: str) -> Principal:
        found, is_known = self._guard.known(token)
        if found is not None:
            return found
        if is_known:
            raise Unauthenticated("this opens nothing any more")
        return await asyncio.to_thread(self._guard.look_up, token, address)


def is_guarded(path: str) -> bool:
    """Whether it is not for everybody."""
    return path.startswith("/api/") or path == METRICS


async def close(receive: Receive, send: Send, error: ConstellationError) -> None:
    """Turn a WebSocket away: opened first, because browsers tell no page why one was not."""
    code = next((SOCKET_CODES[kind] for kind in type(error).__mro__ if kind in SOCKET_CODES), 1011)
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": error.message[:120]})


def bearer_of(headers: Headers) -> str | None:
    """The token of the Authorization header. Raises Unauthenticated for one of another form."""
    given = headers.getlist("authorization")
    if not given:
        return None
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send one header `Authorization: Bearer <key>`")
    return token.strip()


def cookie_of(headers: Headers) -> str | None:
    """The session's token in the cookie, None where there is none."""
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    found = cookies.get(COOKIE)
    return found.value if found is not None and secret.is_session(found.value) else None


def check_csrf(headers: Headers, session: str) -> None:
    """Raises Forbidden unless the page that asks has read what only our own pages can."""
    if not secret.is_csrf_token(session, headers.get(CSRF_HEADER, "")):
        raise Forbidden(
            "a change that is asked for with the session's cookie needs the header X-CSRF-Token "
            "with `csrf_token` of GET /api/v1/session"
        )
