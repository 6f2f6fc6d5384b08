"""Routes of signing in by way of an identity provider: for browsers, so refusals are pages."""

import time
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from api.cookies import is_open, keep_session
from api.deps import GuardPart, SettingsPart, SignInPart, address_of
from api.errors import MEDIA_TYPE, STATUS, headers_of
from api.login import LASTS_S, Login, Returned, SignIn
from api.origins import LOOPBACK, host_name
from api.routing import Route
from api.schemas.login import SignInWays
from constellation_pipelines.domain.errors import ConstellationError, NotFound
from constellation_pipelines.settings import Settings

router = APIRouter(prefix="/auth", tags=["session"], route_class=Route)

LOGIN_COOKIE = "constellation_login"
FOLDER = "/auth/oidc"
# A path on this server. Browsers take a backslash for a slash, and two slashes for another host.
OWN_PAGE = r"^/([!-.0-\[\]-~][!-\[\]-~]*)?$"
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Not signed in - Constellation</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui; margin: 14vh auto; max-width: 28rem; padding: 0 1rem }}
</style>
<h1>Not signed in</h1>
<p>{reason}.</p>
<p><a href="/auth/oidc/login">Try again</a> or <a href="/">sign in with a key</a>.</p>
</html>
"""


def pages(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the document says of refusals that are pages."""
    text = {"schema": {"type": "string"}}
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    content = {"text/html": text, MEDIA_TYPE: problem}
    gone = {"description": "The browser goes on", "content": {}}
    refused = {"description": "A page that says why nobody was signed in", "content": content}
    return {303: gone, **dict.fromkeys(statuses, refused)}


@router.get("", summary="Show how one can sign in")
def show_sign_in(sign_in: SignInPart) -> SignInWays:
    """Whether there is an identity provider to sign in at, beside keys."""
    return SignInWays(oidc_name=None if sign_in is None else sign_in.name)


@router.get(
    "/oidc/login",
    status_code=303,
    response_class=RedirectResponse,
    summary="Sign in at the identity provider",
    responses=pages(403, 404, 429, 503),
)
def begin_login(
    request: Request,
    settings: SettingsPart,
    sign_in: SignInPart,
    guard: GuardPart,
    next: Annotated[
        str,
        Query(max_length=500, pattern=OWN_PAGE, description="Page of this server to go to then."),
    ] = "/",
) -> Response:
    """Lead a browser to the identity provider, which leads it back to /auth/oidc/callback."""
    try:
        found = configured(sign_in)
        login = Login.begin(next, int(time.time()))
        with guard.knock(address_of(request)):
            url = found.url_of(login, redirect_uri(request, settings))
    except ConstellationError as error:
        return refusal(error)
    response = RedirectResponse(url, 303, PAGE_HEADERS)
    response.set_cookie(
        LOGIN_COOKIE,
        login.cookie,
        max_age=LASTS_S,
        path=FOLDER,
        secure=is_open(request),
        httponly=True,
        samesite="lax",  # it has to come along when the provider leads the browser back
    )
    return response


@router.get(
    "/oidc/callback",
    status_code=303,
    response_class=RedirectResponse,
    summary="Come back from the identity provider",
    responses=pages(401, 403, 404, 429, 503),
)
def end_login(
    request: Request,
    settings: SettingsPart,
    sign_in: SignInPart,
    guard: GuardPart,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    iss: Annotated[str | None, Query(max_length=500, description="Who answers.")] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Begin a session of whom the provider names, in the browser that had begun to sign in."""
    address = address_of(request)
    try:
        found = configured(sign_in)
        with guard.knock(address):
            login = Login.read(request.cookies.get(LOGIN_COOKIE, ""), int(time.time()))
            returned = Returned(state, code, iss, error)
            named = found.principal(login, returned, redirect_uri(request, settings))
            principal, token = guard.sign_in_as(named, login.token, address)
    except ConstellationError as failure:
        return refusal(failure)
    response = RedirectResponse(login.next, 303, PAGE_HEADERS)
    keep_session(request, response, principal, token)
    response.delete_cookie(
        LOGIN_COOKIE, path=FOLDER, secure=is_open(request), httponly=True, samesite="lax"
    )
    return response


def configured(sign_in: SignIn | None) -> SignIn:
    """The identity provider. Raises NotFound."""
    if sign_in is None:
        raise NotFound("no identity provider is named here; CONSTELLATION_OIDC_CLIENT_ID names one")
    return sign_in


def redirect_uri(request: Request, settings: Settings) -> str:
    """Where the provider leads the browser back to. Raises NotFound where nobody has said.

    What a request says of its host is taken on this machine only: elsewhere anybody could say it.
    """
    base = settings.public_url
    if base is None and host_name(request.headers["host"]) in LOOPBACK:
        base = str(request.base_url)
    if base is None:
        raise NotFound("the URL of this server is not known: CONSTELLATION_PUBLIC_URL names it")
    return base.rstrip("/") + FOLDER + "/callback"


def refusal(error: ConstellationError) -> HTMLResponse:
    """A page that says why nobody was signed in. Nothing of the request is in it."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    reason = error.message[:1].upper() + error.message[1:]
    text = PAGE.format(reason=escape(reason.rstrip(".")))
    return HTMLResponse(text, status, PAGE_HEADERS | headers_of(error, status))
