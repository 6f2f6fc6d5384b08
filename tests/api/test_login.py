"""Signing in by way of an identity provider, and what nobody gets in with."""

import logging
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest

from api.gate import COOKIE
from api.login import LASTS_S, Login, Returned, SignIn
from api.routers.login import LOGIN_COOKIE
from constellation_pipelines.domain.errors import (
    InvalidInput,
    ServiceUnavailable,
    Unauthenticated,
)
from constellation_pipelines.settings import Settings
from tests.api.people import client, make_account
from tests.api.provider import CLIENT, SECRET, Provider, providing, settings_of
from tests.api.service import Service, serving
from tests.conftest import PostgresServer, scratch_database

ANN = {"sub": "7f3a", "email": "ann@eo.example", "groups": ["staff", "constellation:operator"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with providing() as running:
        yield running


@pytest.fixture(scope="module")
def guarded(
    postgres: PostgresServer,
    template: str,
    provider: Provider,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("login")
    with (
        scratch_database(postgres, template) as name,
        serving(
            postgres.url_of(name), None, folder, auth="required", **settings_of(provider)
        ) as running,
    ):
        make_account(running.database, "ann@eo.example")
        yield running


@pytest.fixture
def honest(provider: Provider) -> Provider:
    """The provider, as it is before a test makes it misbehave."""
    provider.person, provider.claims, provider.document = dict(ANN), {}, {}
    provider.denies, provider.forges, provider.forgetful = None, False, False
    return provider


@pytest.fixture
def browser(guarded: Service, honest: Provider) -> Iterator[httpx.Client]:
    """Keeps cookies, and follows nothing by itself."""
    time.sleep(0.6)  # an address of which many are not let in is slowed down
    with client(guarded) as http:
        yield http


def begin(browser: httpx.Client, service: Service, next: str = "/") -> str:
    """Begin to sign in; the URL at the provider that the browser is sent to."""
    reply = browser.get(f"{service.url}/auth/oidc/login", params={"next": next})
    assert reply.status_code == 303, reply.text
    return reply.headers["location"]


def sign_in_there(browser: httpx.Client, url: str) -> str:
    """Sign in at the provider; the URL that the browser is sent back to."""
    return str(browser.get(url).headers["location"])


def walk(browser: httpx.Client, service: Service, next: str = "/") -> httpx.Response:
    """All of the way; the last answer."""
    return browser.get(sign_in_there(browser, begin(browser, service, next)))


def refused(reply: httpx.Response, status: int, words: str) -> None:
    """A page says why, with nothing of a session."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["cache-control"] == "no-store"
    assert words in reply.text
    assert COOKIE not in reply.headers.get("set-cookie", "")


def changed(url: str, **changes: str | None) -> str:
    """The URL with other parameters; None takes one away."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | changes
    kept = {key: value for key, value in query.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


# ---- the way in ----


def test_one_is_led_there_and_back_and_has_a_session(
    browser: httpx.Client, guarded: Service
) -> None:
    assert browser.get(f"{guarded.url}/auth").json() == {"oidc_name": "Town Hall"}
    reply = walk(browser, guarded, "/job/?id=7")
    assert (reply.status_code, reply.headers["location"]) == (303, "/job/?id=7")
    who = browser.get("/session").json()
    assert (who["account"], who["scope"]) == ("ann@eo.example", "operator")
    assert (who["door"], who["actor"]) == ("session", "oidc:7f3a")
    assert LOGIN_COOKIE not in browser.cookies
    csrf = {"X-CSRF-Token": who["csrf_token"]}
    assert browser.post("/jobs", json={}).status_code == 403
    assert browser.post("/jobs", json={}, headers=csrf).status_code == 422
    token = browser.cookies[COOKIE]
    assert browser.delete("/session", headers=csrf).status_code == 204
    kept = httpx.get(f"{guarded.url}/api/v1/jobs", headers={"Cookie": f"{COOKIE}={token}"})
    assert kept.status_code == 401


def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(
    browser: httpx.Client, guarded: Service
) -> None:
    begun = browser.get(f"{guarded.url}/auth/oidc/login")
    attributes = begun.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=lax" in attributes
    assert "path=/auth/oidc" in attributes
    ended = browser.get(sign_in_there(browser, begun.headers["location"]))
    (session,) = [one for one in ended.headers.get_list("set-cookie") if one.startswith(COOKIE)]
    assert "httponly" in session.lower()
    assert "samesite=strict" in session.lower()


def test_the_provider_is_told_a_digest_and_nothing_secret(
    browser: httpx.Client, guarded: Service
) -> None:
    query = parse_qs(urlsplit(begin(browser, guarded)).query)
    assert query["client_id"] == [CLIENT]
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{guarded.url}/auth/oidc/callback"]
    login = Login.read(browser.cookies[LOGIN_COOKIE].strip('"'), int(time.time()))
    assert query["state"] == [login.state]
    assert login.verifier not in str(query)
    assert login.token not in str(query)
    assert SECRET not in str(query)


def test_who_signs_in_is_in_the_audit(browser: httpx.Client, guarded: Service) -> None:
    walk(browser, guarded)
    rows = guarded.database.fetch_all(
        "select account, actor from constellation.audit_events where action = 'session.begun'"
    )
    assert {"account": "ann@eo.example", "actor": "oidc:7f3a"} in rows


# ---- answers to nobody, or to somebody else ----


def test_a_wrong_state_is_refused(browser: httpx.Client, guarded: Service) -> None:
    back = sign_in_there(browser, begin(browser, guarded))
    for state in ("x" * 43, None, ""):
        refused(browser.get(changed(back, state=state)), 401, "begin anew")


def test_another_browsers_answer_is_refused(
    browser: httpx.Client, guarded: Service, honest: Provider
) -> None:
    """An attacker's own code, handed to a victim who has begun to sign in as well."""
    with client(guarded) as attacker:
        back = sign_in_there(attacker, begin(attacker, guarded))
    begin(browser, guarded)
    before = honest.asked.count("/token")
    refused(browser.get(back), 401, "not begun in this browser")
    assert honest.asked.count("/token") == before


@pytest.mark.parametrize("cookie", [None, "", "csl_1_" + "x" * 43 + ".Lw", "csl_x", "\xff", "a.b"])
def test_an_answer_without_a_sign_in_is_refused(
    browser: httpx.Client, guarded: Service, cookie: str | None
) -> None:
    back = sign_in_there(browser, begin(browser, guarded))
    value = b"" if cookie is None else f"{LOGIN_COOKIE}={cookie}".encode("latin-1")
    refused(httpx.get(back, headers=[(b"Cookie", value)]), 401, "not begun in this browser")


def test_a_code_is_taken_once(browser: httpx.Client, guarded: Service) -> None:
    back = sign_in_there(browser, begin(browser, guarded))
    cookie = {"Cookie": f"{LOGIN_COOKIE}={browser.cookies[LOGIN_COOKIE]}"}
    assert browser.get(back).status_code == 303
    refused(httpx.get(back, headers=cookie), 401, "did not take this sign-in")


def test_a_sign_in_begins_one_session_though_the_provider_takes_its_code_again(
    browser: httpx.Client, guarded: Service, honest: Provider
) -> None:
    honest.forgetful = True
    back = sign_in_there(browser, begin(browser, guarded))
    cookie = {"Cookie": f"{LOGIN_COOKIE}={browser.cookies[LOGIN_COOKIE]}"}
    assert browser.get(back).status_code == 303
    refused(httpx.get(back, headers=cookie), 401, "used already")


def test_a_code_of_another_sign_in_fails_for_its_verifier(
    browser: httpx.Client, guarded: Service
) -> None:
    with client(guarded) as other:
        theirs = dict(parse_qsl(urlsplit(sign_in_there(other, begin(other, guarded))).query))
    back = sign_in_there(browser, begin(browser, guarded))
    refused(browser.get(changed(back, code=theirs["code"])), 401, "did not take this sign-in")


@pytest.mark.parametrize("code", ["", "nobody's", "x" * 4096, "'; drop table", "%00"])
def test_a_code_that_is_none_is_refused(browser: httpx.Client, guarded: Service, code: str) -> None:
    back = sign_in_there(browser, begin(browser, guarded))
    refused(browser.get(changed(back, code=code)), 401, "Not signed in")


def test_an_answer_of_another_issuer_is_refused(browser: httpx.Client, guarded: Service) -> None:
    back = sign_in_there(browser, begin(browser, guarded))
    refused(browser.get(changed(back, iss="https://evil.example/")), 401, "another issuer")


def test_who_is_denied_reads_that_and_nothing_of_the_request(
    browser: httpx.Client, guarded: Service, honest: Provider
) -> None:
    honest.denies = "<script>alert(1)</script>"
    reply = walk(browser, guarded)
    refused(reply, 401, "Town Hall did not sign you in")
    assert "alert" not in reply.text


# ---- tokens ----

TOKENS: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "x" * 43},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": 7},
    "another audience": {"aud": "billing"},
    "several audiences, and another client": {"aud": [CLIENT, "billing"], "azp": "billing"},
    "several audiences, and no client": {"aud": [CLIENT, "billing"]},
    "another issuer": {"iss": "https://evil.example/"},
    "expired": {"exp": 1},
    "no end": {"exp": None},
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_that_is_not_for_this_sign_in_opens_nothing(
    browser: httpx.Client, guarded: Service, honest: Provider, name: str
) -> None:
    honest.claims = TOKENS[name]
    refused(walk(browser, guarded), 401, "not good")


def test_a_forged_token_opens_nothing(
    browser: httpx.Client, guarded: Service, honest: Provider
) -> None:
    honest.forges = True
    refused(walk(browser, guarded), 401, "signature is wrong")


@pytest.mark.parametrize(
    ("person", "words"),
    [
        ({"email": "nobody@eo.example"}, "there is no account"),
        ({"email": None}, "no claim email"),
        ({"email": "<b>"}, "cannot name an account"),
        ({"email": "system"}, "cannot name an account"),
        ({"groups": ["staff"]}, "has none of constellation:viewer"),
        ({"groups": None}, "has none of"),
    ],
)
def test_whom_nobody_knows_here_is_told_so(
    browser: httpx.Client, guarded: Service, honest: Provider, person: dict[str, Any], words: str
) -> None:
    honest.person |= person
    reply = walk(browser, guarded)
    assert reply.status_code == 403
    assert words.lower() in reply.text.lower()
    assert "<b>" not in reply.text


# ---- where it leads ----


@pytest.mark.parametrize(
    "next",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/a b",
        "/\r\nSet-Cookie: a=b",
        "/\u2028",
        "/" + "a" * 500,
    ],
)
def test_nobody_is_led_to_another_site(browser: httpx.Client, guarded: Service, next: str) -> None:
    reply = browser.get(f"{guarded.url}/auth/oidc/login", params={"next": next})
    assert reply.status_code == 422
    assert "location" not in reply.headers


def test_a_page_that_was_changed_in_the_cookie_is_another_sign_in(
    browser: httpx.Client, guarded: Service
) -> None:
    back = sign_in_there(browser, begin(browser, guarded))
    ours = Login.read(browser.cookies[LOGIN_COOKIE].strip('"'), int(time.time()))
    theirs = Login(ours.token, "//evil.example/", ours.began_s)
    cookie = {"Cookie": f"{LOGIN_COOKIE}={theirs.cookie}"}
    refused(httpx.get(back, headers=cookie), 401, "not begun in this browser")


@pytest.mark.parametrize("ago_s", [LASTS_S + 1, -3600])
def test_a_sign_in_lasts_ten_minutes(ago_s: int) -> None:
    login = Login.begin("/", 1_000_000 - ago_s)
    with pytest.raises(Unauthenticated):
        Login.read(login.cookie, 1_000_000)


def test_what_a_request_says_of_its_host_is_no_place_to_come_back_to(guarded: Service) -> None:
    reply = httpx.get(f"{guarded.url}/auth/oidc/login", headers={"Host": "evil.example"})
    refused(reply, 404, "CONSTELLATION_PUBLIC_URL")


# ---- the provider itself ----


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": "https://[oops/"},
    ],
)
def test_a_provider_that_names_unsafe_places_signs_nobody_in(document: dict[str, Any]) -> None:
    with providing() as provider:
        provider.document = document
        asked_of(provider, 503)


@pytest.mark.parametrize("status", [500, 404])
def test_a_provider_that_does_not_answer_is_503(status: int) -> None:
    with providing() as provider:
        provider.status = status
        asked_of(provider, 503)


def asked_of(provider: Provider, status: int) -> None:
    """A sign-in at this provider fails with this error, and it is not asked again and again."""
    sign_in = SignIn.of(Settings(**settings_of(provider)))
    assert sign_in is not None

    for _ in range(5):
        with pytest.raises(ServiceUnavailable):
            sign_in.url_of(Login.begin("/", 0), "http://127.0.0.1/auth/oidc/callback")
    assert len(provider.asked) == 1


def test_places_that_only_the_provider_names_are_not_in_a_private_network() -> None:
    with providing() as provider:
        port = urlsplit(provider.url).port
        provider.document = {"token_endpoint": f"http://localhost:{port}/token"}
        provider.person = dict(ANN)
        sign_in = SignIn.of(Settings(**settings_of(provider)))
        assert sign_in is not None
        login = Login.begin("/", 0)

        with pytest.raises(ServiceUnavailable):
            sign_in.principal(login, Returned(login.state, "code", None, None), "http://x/")
        assert "/token" not in provider.asked


@pytest.mark.parametrize(
    "named",
    [
        {"oidc_client_id": CLIENT},
        {"oidc_client_id": CLIENT, "oidc_issuer": "http://login.example/"},
        {"oidc_client_id": CLIENT, "oidc_issuer": "file:///etc"},
        {"public_url": "http://eo.example"},
    ],
)
def test_half_of_a_client_is_refused_at_the_start(named: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="CONSTELLATION_"):
        SignIn.of(Settings(**named))  # type: ignore[arg-type]


def test_nothing_secret_is_logged(
    browser: httpx.Client, guarded: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        back = sign_in_there(browser, begin(browser, guarded))
        query = dict(parse_qsl(urlsplit(back).query))
        login = browser.cookies[LOGIN_COOKIE].strip('"')
        assert browser.get(back).status_code == 303
        cookie = {"Cookie": f"{LOGIN_COOKIE}={login}"}
        assert httpx.get(back, headers=cookie).status_code == 401
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert any("invalid_grant" in line for line in ours)
    verifier = Login.read(login, int(time.time())).verifier
    for one in (query["code"], login, verifier, SECRET, browser.cookies[COOKIE]):
        assert not any(one in line for line in ours)


def test_without_a_provider_there_is_none_to_sign_in_at(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("none")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder, auth="required") as service,
    ):
        assert httpx.get(f"{service.url}/auth").json() == {"oidc_name": None}
        for path in ("login", "callback"):
            refused(httpx.get(f"{service.url}/auth/oidc/{path}"), 404, "No identity provider")
