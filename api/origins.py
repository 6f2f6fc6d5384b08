"""Keeps other sites out: their pages reach a server on loopback through their visitor's browser.

A page of another site can post here and open the WebSocket, and where its name resolves to this
host it can read the replies too. Browsers name the page's origin and the host they were given.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
POLICY_VIOLATION = 1008


class OwnOrigin:
    """Refuses requests to a host that is not this one, and changes asked for by other origins.

    With `any_host` the server answers to every name, as it must behind a proxy: where each request
    has to say who asks, a page that made its own name resolve here has nothing to say.
    """

    def __init__(self, app: ASGIApp, host: str, *, any_host: bool = False) -> None:
        self._app = app
        self._hosts = {*LOOPBACK, host.lower()}
        self._any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403; a WebSocket is closed with 1008."""
        reason = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
        else:
            refusal = problem(403, "foreign_origin", reason, headers={"Connection": "close"})
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not (self._any_host or host_name(hosts[0]) in self._hosts):
            return "this server does not answer to that host name: use 127.0.0.1 or localhost"
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return None
        # No page can set the second without asking first; the dashboard's development server does.
        own = {hosts[0].lower(), headers.get("x-forwarded-host", "").lower()}
        for origin in headers.getlist("origin"):
            if origin.partition("://")[2].lower() not in own - {""}:
                return "a page of another origin may not do this"
        return None


def host_name(host: str) -> str:
    """A Host header without its port, in lower case; `[::1]:8080` gives `::1`."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    return (name if name and port.isdigit() else host).strip("[]").lower()
