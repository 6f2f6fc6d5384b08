"""Parts of the app that handlers ask for. None of them waits, so none needs a thread."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.guard import Guard
from api.live.hub import Hub
from api.live.lines import Lines
from api.live.samples import Samples
from api.login import SignIn
from api.metrics import Requests
from constellation_pipelines.domain.account import Principal
from constellation_pipelines.domain.errors import Unauthenticated
from constellation_pipelines.lake.analytics import Analyst
from constellation_pipelines.settings import Settings
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.tenancy import Tenancy

Part = TypeVar("Part")

NOT_SIGNED_IN = (
    "say who you are: send `Authorization: Bearer <key>`; `constellation keys create` makes a key"
)


def principal_of(connection: HTTPConnection) -> Principal:
    """Who asks, over HTTP or a WebSocket. Raises Unauthenticated where nobody is known to."""
    found = getattr(connection.state, "principal", None)
    if found is None:
        raise Unauthenticated(NOT_SIGNED_IN)
    assert isinstance(found, Principal)
    return found


def tenancy_of(connection: HTTPConnection) -> Tenancy:
    """Whose rows the request may see, and who is named in the audit."""
    principal = principal_of(connection)
    return Tenancy(principal.account, principal.sees_all, principal.actor, address_of(connection))


async def until_signed_out(connection: HTTPConnection) -> None:
    """Wait until whoever opened this socket may not have it open any more."""
    guard = await guard_of(connection)
    principal = principal_of(connection)
    await guard.until_out(principal, connection.state.token, address_of(connection))


def address_of(connection: HTTPConnection) -> str:
    """Where the request came from."""
    return connection.client.host if connection.client else ""


async def current_principal(connection: HTTPConnection) -> Principal:
    """Who asks. Raises Unauthenticated."""
    return principal_of(connection)


async def current_tenancy(connection: HTTPConnection) -> Tenancy:
    """What whoever asks may see. Raises Unauthenticated."""
    return tenancy_of(connection)


def part(name: str, kind: type[Part]) -> Callable[[HTTPConnection], Awaitable[Part]]:
    """What finds a part of the app that it was made with."""

    async def found(connection: HTTPConnection) -> Part:
        value = getattr(connection.app.state, name)
        assert isinstance(value, kind)
        return value

    return found


settings_of = part("settings", Settings)
pool_of = part("database", Database)  # in which no account's rows are seen
hub_of = part("hub", Hub)
lines_of = part("lines", Lines)
samples_of = part("samples", Samples)
analyst_of = part("analyst", Analyst)
guard_of = part("guard", Guard)
requests_of = part("requests", Requests)


async def sign_in_of(connection: HTTPConnection) -> SignIn | None:
    """The identity provider that people sign in at, if the settings name one."""
    found = connection.app.state.sign_in
    assert found is None or isinstance(found, SignIn)
    return found


async def database_of(connection: HTTPConnection) -> Database:
    """The app's pool, narrowed to what whoever asks may see. Raises Unauthenticated."""
    return (await pool_of(connection)).bound(tenancy_of(connection))


SettingsPart = Annotated[Settings, Depends(settings_of)]
PoolPart = Annotated[Database, Depends(pool_of)]
DatabasePart = Annotated[Database, Depends(database_of)]
HubPart = Annotated[Hub, Depends(hub_of)]
LinesPart = Annotated[Lines, Depends(lines_of)]
SamplesPart = Annotated[Samples, Depends(samples_of)]
RequestsPart = Annotated[Requests, Depends(requests_of)]
AnalystPart = Annotated[Analyst, Depends(analyst_of)]
TenancyPart = Annotated[Tenancy, Depends(current_tenancy)]
SignInPart = Annotated[SignIn | None, Depends(sign_in_of)]
GuardPart = Annotated[Guard, Depends(guard_of)]
PrincipalPart = Annotated[Principal, Depends(current_principal)]
