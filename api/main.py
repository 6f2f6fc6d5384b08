"""The API's app, made of its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from api import access, dashboard, errors, openapi
from api.area_limit import AreaLimit
from api.gate import Gate
from api.guard import Guard
from api.limits import BodyLimit, HeaderLimit
from api.live.hub import Hub
from api.live.lines import Lines
from api.live.samples import Samples
from api.login import SignIn
from api.metrics import Measured, Requests
from api.origins import OwnOrigin
from api.routers import (
    about,
    analytics,
    areas,
    audit,
    coverage,
    gpus,
    health,
    jobs,
    login,
    logs,
    metrics,
    models,
    runs,
    scenes,
    session,
    stream,
    usage,
    webhooks,
)
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.events.bus import Bus
from constellation_pipelines.lake.analytics import Analyst
from constellation_pipelines.remote.hosts import allowed_by
from constellation_pipelines.settings import Settings
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.tenancy import NOBODY

ROOMS = (
    *(jobs, logs, runs, gpus, scenes, areas, models, stream),
    *(webhooks, usage, analytics, coverage, session, login, audit, about, health, metrics),
)
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
    guard = Guard(settings, given)
    hub = Hub(given, bus)
    lines, samples = Lines(bus, hub.offer), Samples(bus, hub.offer)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await hub.start()
        lines.start()
        samples.start()
        yield
        await samples.stop()
        await lines.stop()
        await hub.stop()
        if owned is not None:
            owned.close()

    app = FastAPI(
        title="Constellation",
        version=VERSION,
        description="Runs PyTorch models over satellite imagery on the GPUs you own.",
        lifespan=lifespan,
        dependencies=[Depends(access.authorise)],
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.database = given
    app.state.hub = hub
    app.state.lines = lines
    app.state.samples = samples
    app.state.analyst = Analyst()
    app.state.guard = guard
    app.state.requests = Requests()
    app.state.sign_in = SignIn.of(settings)
    app.add_middleware(BodyLimit)
    app.add_middleware(AreaLimit)
    app.add_middleware(Gate, guard=guard)
    app.add_middleware(OwnOrigin, host=settings.api_host, any_host=guard.required)
    app.add_middleware(HeaderLimit)
    app.add_middleware(Measured, requests=app.state.requests)
    errors.install(app)
    include_rooms(app)
    openapi.install(app)
    dashboard.mount(app, dagster_url=settings.dagster_url)
    return app


def include_rooms(app: FastAPI) -> None:
    """Every operation. Raises LookupError for one of which nobody has said who may use it."""
    routers = [room.router for room in ROOMS]
    access.check_complete(routers)
    for router in routers:
        app.include_router(router)
    app.state.operations = [route for router in routers for route in router.routes]


def open_database(settings: Settings) -> Database:
    """The pool named in the settings."""
    if settings.database_url is None:
        raise InvalidInput(
            "the API needs CONSTELLATION_DATABASE_URL; `constellation up` starts one and sets it"
        )
    return Database(
        settings.database_url, max_size=POOL_SIZE, timeout_s=POOL_TIMEOUT_S, tenancy=NOBODY
    )
