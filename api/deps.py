"""Parts of the app that handlers ask for. None of them waits, so none needs a thread."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.guard import Guard
from api.live.hub import Hub
from api.live.lines import Lines
from api.live.samples import Samples
from constellation_pipelines.domain.account import Principal
from constellation_pipelines.domain.errors import Unauthenticated
from constellation_pipelines.settings import Settings
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.tenancy import Tenancy

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


async def settings_of(connection: HTTPConnection) -> Settings:
    """The settings the app was made with."""
    found = connection.app.state.settings
    assert isinstance(found, Settings)
    return found


async def pool_of(connection: HTTPConnection) -> Database:
    """The app's pool, in which no account's rows are seen."""
    found = connection.app.state.database
    assert isinstance(found, Database)
    return found


async def database_of(connection: HTTPConnection) -> Database:
    """The app's pool, narrowed to what whoever asks may see. Raises Unauthenticated."""
    return (await pool_of(connection)).bound(tenancy_of(connection))


async def hub_of(connection: HTTPConnection) -> Hub:
    """The app's hub."""
    found = connection.app.state.hub
    assert isinstance(found, Hub)
    return found


async def lines_of(connection: HTTPConnection) -> Lines:
    """The app's log lines."""
    found = connection.app.state.lines
    assert isinstance(found, Lines)
    return found


async def samples_of(connection: HTTPConnection) -> Samples:
    """The app's samples."""
    found = connection.app.state.samples
    assert isinstance(found, Samples)
    return found


async def guard_of(connection: HTTPConnection) -> Guard:
    """The app's guard."""
    found = connection.app.state.guard
    assert isinstance(found, Guard)
    return found


SettingsPart = Annotated[Settings, Depends(settings_of)]
PoolPart = Annotated[Database, Depends(pool_of)]
DatabasePart = Annotated[Database, Depends(database_of)]
HubPart = Annotated[Hub, Depends(hub_of)]
LinesPart = Annotated[Lines, Depends(lines_of)]
SamplesPart = Annotated[Samples, Depends(samples_of)]
TenancyPart = Annotated[Tenancy, Depends(current_tenancy)]
GuardPart = Annotated[Guard, Depends(guard_of)]
PrincipalPart = Annotated[Principal, Depends(current_principal)]
