"""The API's app, made of its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import dashboard, errors, openapi
from api.limits import BodyLimit
from api.live import Hub
from api.origins import OwnOrigin
from api.routers import about, gpus, health, jobs, models, runs, scenes, stream
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.remote.hosts import allowed_by
from constellation_pipelines.settings import Settings
from constellation_pipelines.store.database import Database

VERSION = "1"  # of the API, as in its paths
POOL_SIZE = 40  # handlers run in a thread pool of 40
POOL_TIMEOUT_S = 3.0


def create_app(
    settings: Settings, *, database: Database | None = None, bus: Bus | None = None
) -> FastAPI:
    """The app. It owns the parts that it is not given, and needs none of them to be up yet.

    Raises InvalidInput when neither a database nor its URL is given, or the list of remote hosts
    makes no sense.
    """
    allowed_by(settings)
    owned = None if database is not None else open_database(settings)
    given = database or owned
    assert given is not None
    if bus is None and settings.nats_url is not None:
        bus = Bus(settings.nats_url, name="constellation api")
    hub = Hub(given, bus)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await hub.start()
        yield
        await hub.stop()
        if owned is not None:
            owned.close()

    app = FastAPI(
        title="Constellation",
        version=VERSION,
        description="Runs PyTorch models over satellite imagery on the GPUs you own.",
        lifespan=lifespan,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.database = given
    app.state.hub = hub
    app.add_middleware(BodyLimit)
    app.add_middleware(OwnOrigin, host=settings.api_host)
    errors.install(app)
    for room in (jobs, runs, gpus, scenes, models, stream, about, health):
        app.include_router(room.router)
    openapi.install(app)
    dashboard.mount(app, dagster_url=settings.dagster_url)
    return app


def open_database(settings: Settings) -> Database:
    """The pool named in the settings."""
    if settings.database_url is None:
        raise InvalidInput(
            "the API needs CONSTELLATION_DATABASE_URL; `constellation up` starts one and sets it"
        )
    return Database(settings.database_url, max_size=POOL_SIZE, timeout_s=POOL_TIMEOUT_S)
