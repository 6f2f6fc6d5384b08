"""A real browser on the built dashboard, served by a real API."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from api.dashboard import FOLDER
from tests.api.service import Service, add_scene, relaying, save_model, serving
from tests.conftest import PostgresServer, scratch_database

BROWSER_VARIABLE = "CONSTELLATION_CHROMIUM"
# Read here, because the tests' environment is cleared of Constellation's settings.
CANDIDATES = (
    os.environ.get(BROWSER_VARIABLE),
    "chromium",
    "chromium-browser",
    "google-chrome",
)
WAIT_MS = 8_000
# The browser reports a refusal of the API as an error of its own.
REFUSED = re.compile(r"status of (409|422)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    if not (FOLDER / "index.html").is_file():
        pytest.skip("the dashboard is not built: run scripts/setup-web")
    program = next((found for name in CANDIDATES if name and (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no Chromium: install it, or name it in {BROWSER_VARIABLE}")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="module")
def service(
    postgres: PostgresServer, template: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server with a model and two scenes; events reach it by way of NATS."""
    folder: Path = tmp_path_factory.mktemp("web")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), nats_url, folder) as running,
        relaying(postgres.url_of(name), nats_url),
    ):
        save_model(running.database)
        add_scene(running, "coast")
        add_scene(running, "coarse", pixel_m=60.0)
        yield running


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """A page at the dashboard's address; what its console says against it fails the test."""
    context = browser.new_context(base_url=service.url)
    context.set_default_timeout(WAIT_MS)
    opened = context.new_page()
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not REFUSED.search(message.text):
            said.append(message.text)

    opened.on("console", hear)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert said == []
