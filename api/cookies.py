"""The cookie of a session: what a browser shows in place of a key."""

from fastapi import Request, Response

from api.gate import COOKIE
from api.origins import LOOPBACK, host_name
from constellation_pipelines.domain.account import Principal


def keep_session(request: Request, response: Response, principal: Principal, token: str) -> None:
    """Have the browser keep a session until it ends."""
    response.set_cookie(
        COOKIE,
        token,
        expires=principal.expires_at,
        secure=is_open(request),
        httponly=True,
        samesite="strict",
    )


def drop_session(request: Request, response: Response) -> None:
    """Have the browser forget its session."""
    response.delete_cookie(COOKIE, secure=is_open(request), httponly=True, samesite="strict")


def is_open(request: Request) -> bool:
    """Whether the way to the browser leads over a network: its cookies then go over TLS only."""
    return request.url.scheme == "https" or host_name(request.headers["host"]) not in LOOPBACK
