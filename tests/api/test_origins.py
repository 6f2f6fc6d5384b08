"""What a page of another site can do through its visitor's browser: nothing."""

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.origins import host_name
from tests.api.service import Service
from tests.api.test_jobs import problem_of


def port_of(service: Service) -> str:
    return service.url.rpartition(":")[2]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "[::1]:9"])
def test_names_of_this_host_are_answered_to(http: httpx.Client, host: str) -> None:
    assert http.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:8080",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "127.0.0.1@attacker.example",
        "localhost:8080:8080",
        "localhost:x",
        "[::1",
        "0.0.0.0",
        "",
    ],
)
def test_a_name_that_was_made_to_resolve_here_is_refused(
    service: Service, http: httpx.Client, host: str
) -> None:
    for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/stream")):
        reply = http.request(method, path, headers={"Host": host})
        assert problem_of(reply, 403)["code"] == "foreign_origin"
    for path in ("/", "/docs", "/openapi.json", "/healthz"):
        assert httpx.get(service.url + path, headers={"Host": host}).status_code == 403


FOREIGN = [
    "https://attacker.example",
    "http://localhost:1",
    "http://127.0.0.1",
    "null",
    "",
    "http://127.0.0.1.attacker.example",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_change_asked_for_by_another_origin_is_refused(
    service: Service, http: httpx.Client, scene: str, origin: str
) -> None:
    before = service.database.fetch_one("select count(*) as n from constellation.jobs")
    body = {"model": "landcover", "scenes": [scene]}
    reply = http.post("/jobs", json=body, headers={"Origin": origin})
    assert problem_of(reply, 403)["code"] == "foreign_origin"
    assert service.database.fetch_one("select count(*) as n from constellation.jobs") == before
    plain = {"Origin": origin, "Content-Type": "text/plain"}
    assert http.post("/scenes", content='{"path": "x"}', headers=plain).status_code == 403


def test_two_origins_are_refused_though_one_is_ours(service: Service, http: httpx.Client) -> None:
    both = [("Origin", service.url), ("Origin", "https://attacker.example")]
    assert http.post("/jobs", json={}, headers=both).status_code == 403


@pytest.mark.parametrize("origin", FOREIGN)
def test_another_origin_cannot_open_the_stream(service: Service, origin: str) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(service.websocket_url, additional_headers={"Origin": origin}),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_our_own_pages_and_plain_clients_are_served(
    service: Service, http: httpx.Client, scene: str
) -> None:
    body = {"model": "landcover", "scenes": [scene]}
    assert http.post("/jobs", json=body).status_code == 202
    own = {"Origin": service.url}
    assert http.post("/jobs", json=body, headers=own).status_code == 202
    by_name = {"Host": f"localhost:{port_of(service)}"}
    by_name["Origin"] = f"http://{by_name['Host']}"
    assert http.post("/jobs", json=body, headers=by_name).status_code == 202
    with connect(service.websocket_url, additional_headers=own) as socket:
        assert socket.ping().wait(10)


def test_the_dashboards_development_server_may_pass_requests_on(
    http: httpx.Client, scene: str
) -> None:
    passed_on = {"Origin": "http://localhost:3000", "X-Forwarded-Host": "localhost:3000"}
    body = {"model": "landcover", "scenes": [scene]}
    assert http.post("/jobs", json=body, headers=passed_on).status_code == 202


def test_reading_is_open_to_links_from_elsewhere(http: httpx.Client) -> None:
    """A browser does not show the reply to the other page: no CORS header allows it."""
    reply = http.get("/jobs", headers={"Origin": "https://attacker.example"})
    assert reply.status_code == 200
    assert not any(name.startswith("access-control-") for name in reply.headers)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("LocalHost:80", "localhost"),
        ("localhost", "localhost"),
        (":80", ":80"),
    ],
)
def test_a_host_is_told_from_its_port(host: str, name: str) -> None:
    assert host_name(host) == name
