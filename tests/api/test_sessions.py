"""How a dashboard signs in, and what another site's page can make of its cookie: nothing."""

import time
from collections.abc import Iterator
from http.cookies import Morsel, SimpleCookie

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.gate import COOKIE
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.secret import csrf_token, new_key, new_session
from constellation_pipelines.store import keys
from tests.api.people import client, make_key
from tests.api.service import MODEL, Service, add_scene, save_model, serving
from tests.api.test_jobs import problem_of
from tests.conftest import PostgresServer, scratch_database


@pytest.fixture(scope="module")
def guarded(
    postgres: PostgresServer,
    template: str,
    nats_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    known_for_s: float,
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sessions")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), nats_url, folder, auth="required") as running,
    ):
        save_model(running.database)
        yield running


@pytest.fixture
def browser(guarded: Service) -> Iterator[httpx.Client]:
    """A client that has signed in, and keeps cookies as a browser does."""
    with client(guarded) as http:
        key = make_key(guarded.database, "ann")
        assert http.post("/session", json={"key": key.text}).status_code == 201
        yield http


def cookie_in(reply: httpx.Response) -> "Morsel[str]":
    return SimpleCookie(reply.headers["set-cookie"])[COOKIE]


def csrf(http: httpx.Client) -> dict[str, str]:
    return {"X-CSRF-Token": http.get("/session").json()["csrf_token"]}


def test_a_key_is_exchanged_for_a_cookie_that_no_script_can_read(guarded: Service) -> None:
    key = make_key(guarded.database, "ann", Scope.VIEWER)
    with client(guarded) as http:
        reply = http.post("/session", json={"key": key.text})
        assert reply.status_code == 201
        cookie = cookie_in(reply)
        assert (cookie["httponly"], cookie["samesite"]) == (True, "strict")
        assert cookie["path"] == "/"
        assert not cookie["secure"]  # over plain HTTP on loopback
        who = http.get("/session").json()
        assert (who["account"], who["scope"], who["door"]) == ("ann", "viewer", "session")
        assert who["actor"] == key.prefix
        assert who == reply.json()
        assert cookie.value not in reply.text


@pytest.mark.parametrize("host", ["eo.example", "10.0.0.1:8080"])
def test_over_a_network_the_cookie_goes_over_tls_only(guarded: Service, host: str) -> None:
    key = make_key(guarded.database, "ann")
    reply = httpx.post(
        f"{guarded.url}/api/v1/session", json={"key": key.text}, headers={"Host": host}
    )
    assert cookie_in(reply)["secure"] is True


@pytest.mark.parametrize(
    "key",
    [
        "",
        "cst_",
        pytest.param(new_key().text, id="a key of nobody"),
        pytest.param(new_session(), id="a session of nobody"),
        "x" * 201,
        "\x00",
    ],
)
def test_a_wrong_key_begins_no_session_and_is_not_repeated(guarded: Service, key: str) -> None:
    with client(guarded) as http:
        reply = http.post("/session", json={"key": key})
        problem_of(reply, 422 if key in ("", "x" * 201) else 401)
        assert "set-cookie" not in reply.headers
        assert len(key) < 5 or key not in reply.text


def test_a_session_reads_with_its_cookie_alone(browser: httpx.Client) -> None:
    assert browser.get("/jobs").status_code == 200


def test_a_change_needs_what_only_our_own_page_can_read(
    guarded: Service, browser: httpx.Client
) -> None:
    for header in (None, "", "0" * 64, csrf_token(new_session()), "\xff"):
        headers = [] if header is None else [(b"X-CSRF-Token", header.encode("latin-1"))]
        for method, path in (("POST", "/jobs"), ("POST", "/scenes"), ("DELETE", "/jobs")):
            reply = browser.request(method, path, json={}, headers=headers)
            assert "X-CSRF-Token" in problem_of(reply, 403)["detail"]
    assert browser.post("/jobs", json={}, headers=csrf(browser)).status_code == 422


def test_another_origin_is_refused_though_it_has_the_cookie(browser: httpx.Client) -> None:
    headers = csrf(browser) | {"Origin": "https://attacker.example"}
    reply = browser.post("/jobs", json={}, headers=headers)
    assert problem_of(reply, 403)["code"] == "foreign_origin"


def test_a_key_needs_no_csrf_token(guarded: Service) -> None:
    with client(guarded, make_key(guarded.database, "ann").text) as http:
        assert http.post("/jobs", json={}).status_code == 422


def test_signing_out_ends_the_session_not_only_its_cookie(
    guarded: Service, browser: httpx.Client
) -> None:
    token = browser.cookies[COOKIE]
    reply = browser.delete("/session", headers=csrf(browser))
    assert reply.status_code == 204
    assert COOKIE not in browser.cookies
    kept = httpx.get(f"{guarded.url}/api/v1/jobs", headers={"Cookie": f"{COOKIE}={token}"})
    problem_of(kept, 401)
    row = guarded.database.fetch_one(
        "select count(*)::int as n from constellation.audit_events where action = 'session.ended'"
    )
    assert row != {"n": 0}


def test_a_session_ends_with_its_key(guarded: Service, known_for_s: float) -> None:
    key = make_key(guarded.database, "ann")
    with client(guarded) as http:
        http.post("/session", json={"key": key.text})
        assert http.get("/jobs").status_code == 200
        with guarded.database.transaction() as connection:
            keys.revoke(connection, key.prefix)
        time.sleep(known_for_s)
        problem_of(http.get("/jobs"), 401)


def test_a_session_ends_when_its_key_expires(guarded: Service) -> None:
    key = make_key(guarded.database, "ann", lasts_s=8)
    with client(guarded) as http:
        http.post("/session", json={"key": key.text})
        assert http.get("/jobs").status_code == 200
        time.sleep(8)
        problem_of(http.get("/jobs"), 401)


def test_only_the_hash_of_a_session_is_kept(guarded: Service, browser: httpx.Client) -> None:
    kept = guarded.database.fetch_all("select s::text as kept from constellation.sessions s")
    assert kept
    assert not any(browser.cookies[COOKIE] in row["kept"] for row in kept)


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(f"{COOKIE}={new_session()}", id="a session of nobody"),
        f"{COOKIE}=x",
        "=;=",
        "\xff",
    ],
)
def test_a_cookie_that_is_none_of_ours_opens_nothing(guarded: Service, cookie: str) -> None:
    headers = [(b"Cookie", cookie.encode("latin-1"))]
    problem_of(httpx.get(f"{guarded.url}/api/v1/jobs", headers=headers), 401)


# ---- the stream ----


def closing_code(socket: ClientConnection) -> int | None:
    """The code with which the server closes the socket, however much it says before."""
    try:
        while True:
            socket.recv(timeout=60)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def test_the_stream_is_opened_by_cookie_or_key(guarded: Service, browser: httpx.Client) -> None:
    cookie = {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}
    key = {"Authorization": f"Bearer {make_key(guarded.database, 'ann').text}"}
    for header in (cookie, key):
        with connect(guarded.websocket_url, additional_headers=header) as socket:
            assert socket.ping().wait(10)
    for wrong in ({}, {"Authorization": f"Bearer {new_key().text}"}):
        with connect(guarded.websocket_url, additional_headers=wrong) as socket:
            assert closing_code(socket) == 4401


def test_the_stream_is_closed_when_the_key_is_revoked(guarded: Service) -> None:
    key = make_key(guarded.database, "ann")
    header = {"Authorization": f"Bearer {key.text}"}
    with connect(guarded.websocket_url, additional_headers=header) as socket:
        with guarded.database.transaction() as connection:
            keys.revoke(connection, key.prefix)
        assert closing_code(socket) == 4401


def test_the_stream_is_closed_when_the_key_expires(guarded: Service) -> None:
    key = make_key(guarded.database, "ann", lasts_s=2)
    header = {"Authorization": f"Bearer {key.text}"}
    with connect(guarded.websocket_url, additional_headers=header) as socket:
        assert closing_code(socket) == 4401


def test_a_log_that_is_followed_ends_with_the_key(guarded: Service) -> None:
    key = make_key(guarded.database, "ann")
    with client(guarded, key.text) as http:
        job = http.post("/jobs", json={"model": MODEL, "scenes": [add_scene_of(guarded, http)]})
        url = f"/jobs/{job.json()['id']}/logs"
        with http.stream("GET", url) as told:
            assert told.status_code == 200
            with guarded.database.transaction() as connection:
                keys.revoke(connection, key.prefix)
            assert "event: end" not in "".join(told.iter_text())
        problem_of(http.get(url), 401)


def add_scene_of(guarded: Service, http: httpx.Client) -> str:
    return add_scene(Service(guarded.url, guarded.database, guarded.scenes, http), "followed")
