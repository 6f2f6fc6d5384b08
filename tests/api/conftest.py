"""One server, one database and a few scenes for the tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api import guard
from tests.api.service import Service, add_scene, save_model, serving
from tests.conftest import PostgresServer, scratch_database


@pytest.fixture(scope="module")
def module_database_url(postgres: PostgresServer, template: str) -> Iterator[str]:
    """URL of a migrated database that the tests of a file share."""
    with scratch_database(postgres, template) as name:
        yield postgres.url_of(name)


@pytest.fixture(scope="module")
def service(
    module_database_url: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server with a model."""
    folder: Path = tmp_path_factory.mktemp("api")
    with serving(module_database_url, nats_url, folder) as running:
        save_model(running.database)
        yield running


@pytest.fixture(scope="module")
def known_for_s() -> Iterator[float]:
    """How long what a server looked up of a key counts, shortened for tests that wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "KNOWN_FOR_S", guard.KNOWN_FOR_S / 10)
        patch.setattr(guard, "FRESH_FOR_S", guard.FRESH_FOR_S / 10)
        patch.setattr(guard, "LOOK_AGAIN_S", guard.LOOK_AGAIN_S / 10)
        yield guard.KNOWN_FOR_S


@pytest.fixture(scope="module")
def http(service: Service) -> httpx.Client:
    """A client of the server's /api/v1."""
    return service.http


@pytest.fixture(scope="module")
def scene(service: Service) -> str:
    """Key of a scene of four tiles that the model takes."""
    return add_scene(service, "small")
