"""Parts of the app that handlers ask for."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.live.hub import Hub
from api.live.lines import Lines
from api.live.samples import Samples
from constellation_pipelines.settings import Settings
from constellation_pipelines.store.database import Database

LOCAL_ACCOUNT = "local"


def settings_of(connection: HTTPConnection) -> Settings:
    """The settings the app was made with."""
    found = connection.app.state.settings
    assert isinstance(found, Settings)
    return found


def database_of(connection: HTTPConnection) -> Database:
    """The app's pool."""
    found = connection.app.state.database
    assert isinstance(found, Database)
    return found


def hub_of(connection: HTTPConnection) -> Hub:
    """The app's hub."""
    found = connection.app.state.hub
    assert isinstance(found, Hub)
    return found


def lines_of(connection: HTTPConnection) -> Lines:
    """The app's log lines."""
    found = connection.app.state.lines
    assert isinstance(found, Lines)
    return found


def samples_of(connection: HTTPConnection) -> Samples:
    """The app's samples."""
    found = connection.app.state.samples
    assert isinstance(found, Samples)
    return found


def account() -> str:
    """Who asks. The server listens on loopback and has this one account."""
    return LOCAL_ACCOUNT


SettingsPart = Annotated[Settings, Depends(settings_of)]
DatabasePart = Annotated[Database, Depends(database_of)]
HubPart = Annotated[Hub, Depends(hub_of)]
LinesPart = Annotated[Lines, Depends(lines_of)]
SamplesPart = Annotated[Samples, Depends(samples_of)]
Account = Annotated[str, Depends(account)]
