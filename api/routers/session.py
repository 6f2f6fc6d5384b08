"""Routes of sessions: how a dashboard signs in."""

from fastapi import APIRouter, Request, Response

from api.cookies import drop_session, keep_session
from api.deps import GuardPart, PrincipalPart, address_of
from api.routing import Route
from api.schemas.session import Session, SignIn
from constellation_pipelines.domain.secret import csrf_token

router = APIRouter(prefix="/api/v1/session", tags=["session"], route_class=Route)


@router.post("", status_code=201, summary="Sign in with a key")
def sign_in(body: SignIn, request: Request, response: Response, guard: GuardPart) -> Session:
    """Begin a session of a browser's: its cookie stands for the key from then on."""
    principal, token = guard.sign_in(body.key.get_secret_value(), address_of(request))
    keep_session(request, response, principal, token)
    return Session.of(principal, csrf_token(token))


@router.get("", summary="Show who you are")
async def show_session(request: Request, principal: PrincipalPart) -> Session:
    """The account and scope that the request's key, token or cookie opens."""
    token = request.state.session
    return Session.of(principal, None if token is None else csrf_token(token))


@router.delete("", status_code=204, summary="Sign out")
def sign_out(request: Request, principal: PrincipalPart, guard: GuardPart) -> Response:
    """End the session of the request's cookie. With a key or a token there is none to end."""
    if request.state.session is not None:
        guard.sign_out(principal, request.state.session, address_of(request))
    response = Response(status_code=204)
    drop_session(request, response)
    return response
