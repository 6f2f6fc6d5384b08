"""Real services: one cluster and one NATS server per test run, one database per test."""

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import settings

from constellation_pipelines.stack.nats import EmbeddedNats
from constellation_pipelines.stack.postgres import EmbeddedPostgres
from constellation_pipelines.stack.schema import prepare_database
from constellation_pipelines.store.database import Database

CHECKOUT = Path(__file__).parent.parent
DATA_VARIABLE = "CONSTELLATION_TEST_DATA"
DATABASE_VARIABLE = "CONSTELLATION_TEST_DATABASE_URL"

# Beside other test processes torch has the share of one core, as its lanes in an engine have.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if PROCESSES > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine must not fail an example for being slow.
settings.register_profile("constellation", deadline=None)
settings.load_profile("constellation")

# A script starts what it puts in the background with SIGINT ignored, and all that follows from it
# inherits that. What is tested here is started as from a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class PostgresServer(Protocol):
    """A server on which tests may make databases."""

    @property
    def url(self) -> str:
        """URL of a database that is always there."""

    def url_of(self, database: str) -> str:
        """URL of another database on the same server."""


class NamedPostgres:
    """The server that the person who runs the tests named."""

    def __init__(self, url: str) -> None:
        self.url = url

    def url_of(self, database: str) -> str:
        parts = urlsplit(self.url)
        tail = urlunsplit(("", "", f"/{database}", parts.query, ""))
        return f"{parts.scheme}://{parts.netloc}{tail}"


@contextmanager
def scratch_database(server: PostgresServer, template: str = "template1") -> Iterator[str]:
    """Make a database under a new name, and drop it with whatever is still connected to it."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        # The copy of a migrated database takes 0.2 s by pages, several times that through the log.
        connection.execute(f"create database {name} template {template} strategy file_copy")
    try:
        yield name
    finally:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file share its fixtures, and so one process; whole stacks do as well."""
    from tests.processes import ByUnit

    config.option.loadscopereorder = False
    return ByUnit(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes, what takes long begins first."""
    if PROCESSES > 1:
        from tests.processes import place_of

        items.sort(key=lambda item: place_of(item.nodeid))


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """Settings of the person's own stack must not reach the tests."""
    kept = {DATA_VARIABLE, DATABASE_VARIABLE, "CONSTELLATION_POSTGRES_BIN"}
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("CONSTELLATION_", "DAGSTER_")) and name not in kept:
                patch.delenv(name)
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
        yield


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of sample scenes, areas and chips."""
    folder = Path(os.environ.get(DATA_VARIABLE, CHECKOUT.parent / "shared" / "data"))
    if not (folder / "scenes").is_dir():
        pytest.skip(f"no sample data in {folder}; name its folder in {DATA_VARIABLE}")
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A running server with PostGIS."""
    if named := os.environ.get(DATABASE_VARIABLE):
        yield NamedPostgres(named)
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), fsync=False)
    try:
        with server:
            yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> Iterator[str]:
    """Name of a migrated database that the databases of the tests are copied from."""
    with scratch_database(postgres) as name:
        prepare_database(postgres.url_of(name))
        yield name


@pytest.fixture
def database_url(postgres: PostgresServer, template: str) -> Iterator[str]:
    """URL of a migrated database of this test's own."""
    with scratch_database(postgres, template) as name:
        yield postgres.url_of(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool of connections to this test's database."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running NATS server with JetStream."""
    server = EmbeddedNats(tmp_path_factory.mktemp("nats"))
    try:
        with server:
            yield server.url
    finally:
        server.remove()
