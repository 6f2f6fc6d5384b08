"""Signing in to the dashboard, and out of it."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.secret import new_key
from constellation_pipelines.store import keys
from tests.api.people import make_account, make_key
from tests.api.provider import Provider, providing, settings_of
from tests.api.service import Service, save_model, serving
from tests.conftest import PostgresServer, scratch_database
from tests.web.conftest import WAIT_MS


@pytest.fixture(scope="module")
def guarded(
    postgres: PostgresServer, template: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server that wants to know who asks."""
    with (
        scratch_database(postgres, template) as name,
        serving(
            postgres.url_of(name), nats_url, tmp_path_factory.mktemp("signin"), auth="required"
        ) as running,
    ):
        save_model(running.database)
        yield running


@pytest.fixture
def visitor(browser: Browser, guarded: Service) -> Iterator[Page]:
    context = browser.new_context(base_url=guarded.url)
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_one_signs_in_with_a_key_and_out_again(guarded: Service, visitor: Page) -> None:
    key = make_key(guarded.database, "ann", Scope.OPERATOR)
    visitor.goto("/")
    expect(visitor.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(visitor.get_by_role("navigation")).to_have_count(0)
    sign_in(visitor, key.text)
    expect(visitor.get_by_test_id("connection")).to_have_text("Live")
    expect(visitor.get_by_role("banner")).to_contain_text("ann")
    visitor.reload()
    expect(visitor.get_by_test_id("connection")).to_have_text("Live")
    kept = visitor.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert key.text not in kept
    assert visitor.evaluate("document.cookie") == ""
    visitor.get_by_role("button", name="Sign out").click()
    expect(visitor.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_wrong_key_is_refused_in_the_apis_words(visitor: Page) -> None:
    visitor.goto("/")
    sign_in(visitor, new_key().text)
    expect(visitor.get_by_role("main")).to_contain_text("unknown, revoked or expired")
    expect(visitor.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_change_is_let_through_with_the_sessions_token(guarded: Service, visitor: Page) -> None:
    visitor.goto("/")
    sign_in(visitor, make_key(guarded.database, "ann").text)
    expect(visitor.get_by_test_id("connection")).to_have_text("Live")
    status = visitor.evaluate(
        """async () => {
          const session = await (await fetch('/api/v1/session')).json();
          const post = (headers) => fetch('/api/v1/jobs', {method: 'POST', headers, body: '{}'});
          const json = {'Content-Type': 'application/json'};
          const bare = await post(json);
          const told = await post({...json, 'X-CSRF-Token': session.csrf_token});
          return [bare.status, told.status];
        }"""
    )
    assert status == [403, 422]


def test_a_session_that_has_ended_leads_back_to_the_key(guarded: Service, visitor: Page) -> None:
    key = make_key(guarded.database, "ann")
    visitor.goto("/")
    sign_in(visitor, key.text)
    expect(visitor.get_by_test_id("connection")).to_have_text("Live")
    with guarded.database.transaction() as connection:
        keys.revoke(connection, key.prefix)
    visitor.wait_for_timeout(3_500)
    with suppress(TimeoutError):  # the page may have gone there by itself, when its socket closed
        visitor.get_by_role("link", name="Scenes").click(timeout=2_000)
    expect(visitor.get_by_role("heading", name="Sign in")).to_be_visible()


# ---- by way of an identity provider ----

PROVIDER_WAIT_MS = 60_000  # several pages of two servers, one after the other


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as running:
        running.person = {"email": "ann@eo.example", "groups": "constellation:viewer", "sub": "7"}
        yield running


@pytest.fixture
def town(
    browser: Browser,
    provider: Provider,
    postgres: PostgresServer,
    template: str,
    nats_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Page]:
    """A visitor of a server that names the provider, where Ann has an account."""
    folder = tmp_path_factory.mktemp("provider")
    with (
        scratch_database(postgres, template) as name,
        serving(
            postgres.url_of(name), nats_url, folder, auth="required", **settings_of(provider)
        ) as running,
    ):
        make_account(running.database, "ann@eo.example")
        # By this name it is another site than the provider, as in the world.
        context = browser.new_context(base_url=running.url.replace("127.0.0.1", "localhost"))
        context.set_default_timeout(PROVIDER_WAIT_MS)
        yield context.new_page()
        context.close()


def test_one_signs_in_at_the_provider_and_comes_back_to_the_page(
    town: Page, provider: Provider
) -> None:
    town.goto("/scenes/")
    provider.denies = "access_denied"
    town.get_by_role("button", name="Sign in with Town Hall").click()
    expect(town.get_by_role("heading", name="Not signed in")).to_be_visible(
        timeout=PROVIDER_WAIT_MS
    )
    expect(town.get_by_text("Town Hall did not sign you in")).to_be_visible(
        timeout=PROVIDER_WAIT_MS
    )
    provider.denies = None
    town.goto("/scenes/")
    town.get_by_role("button", name="Sign in with Town Hall").click()
    expect(town.get_by_test_id("connection")).to_have_text("Live", timeout=PROVIDER_WAIT_MS)
    assert town.url.endswith("/scenes/")
    expect(town.get_by_role("banner")).to_contain_text("ann@eo.example")
    assert town.evaluate("document.cookie") == ""
    town.get_by_role("button", name="Sign out").click()
    expect(town.get_by_role("heading", name="Sign in")).to_be_visible(timeout=PROVIDER_WAIT_MS)
