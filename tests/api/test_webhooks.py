"""Webhooks over HTTP: a secret shown once, refusals with a pointer."""

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.store import webhooks
from constellation_pipelines.store.tenancy import EVERYONE, Tenancy
from tests.api.service import Service
from tests.api.test_jobs import problem_of, submit

URL = "https://example.org/hook"


def added(http: httpx.Client, **more: Any) -> dict[str, Any]:
    reply = http.post("/webhooks", json={"url": URL} | more)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def test_a_secret_is_shown_once(service: Service, http: httpx.Client) -> None:
    made = added(http, event_types=["job.completed"])
    assert made["secret"].startswith("whsec_")
    assert made["event_types"] == ["job.completed"]
    listed = http.get("/webhooks")
    assert made["id"] in {one["id"] for one in listed.json()["items"]}
    assert made["secret"] not in listed.text
    removed = http.delete(f"/webhooks/{made['id']}")
    assert removed.json()["id"] == made["id"]
    assert "secret" not in removed.json()
    for tenancy in (Tenancy("local"), EVERYONE):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.database.bound(tenancy).fetch_all("select secret from constellation.webhooks")


def test_what_is_to_be_told_is_listed_in_pages_and_goes_with_its_webhook(
    http: httpx.Client, scene: str
) -> None:
    made = added(http)
    for _ in range(3):
        submit(http, scene)
    path = f"/webhooks/{made['id']}/deliveries"
    page = http.get(path, params={"limit": 2}).json()
    rest = http.get(path, params={"limit": 2, "cursor": page["next"]}).json()
    found = [*page["items"], *rest["items"]]
    assert [one["event_type"] for one in found] == ["job.submitted"] * 3
    assert {one["attempts"] for one in found} == {0}
    assert rest["next"] is None
    assert http.delete(f"/webhooks/{made['id']}").status_code == 200
    problem_of(http.get(path), 404)
    problem_of(http.delete(f"/webhooks/{made['id']}"), 404)
    problem_of(http.delete(f"/webhooks/{uuid4()}"), 404)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": "http://example.org/"}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": "https://169.254.169.254/latest"}, "/url"),
        ({"url": "https://a:b@example.org/"}, "/url"),
        ({"url": "https://example.org/\r\nx: y"}, "/url"),
        ({"url": "https://example.org/" + "x" * 2000}, "/url"),
        ({"url": "\ud800"}, "/url"),
        ({"url": 7}, "/url"),
        ({"event_types": []}, "/event_types"),
        ({"event_types": ["tile.completed"]}, "/event_types/0"),
        ({"event_types": ["job.completed"] * 8}, "/event_types"),
        ({"secret": "mine"}, "/secret"),
    ],
)
def test_a_wrong_webhook_is_refused_with_a_pointer(
    http: httpx.Client, change: dict[str, Any], pointer: str
) -> None:
    import json

    content = json.dumps({"url": URL} | change)
    headers = {"content-type": "application/json"}
    found = problem_of(http.post("/webhooks", content=content, headers=headers), 422)
    assert found["errors"][0]["pointer"] == pointer


def test_an_account_has_so_many_webhooks_and_no_more(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MOST_OF_ACCOUNT", len(http.get("/webhooks").json()["items"]) + 1)
    made = added(http)
    assert problem_of(http.post("/webhooks", json={"url": URL}), 403)["code"] == "quota_exceeded"
    http.delete(f"/webhooks/{made['id']}")
    http.delete(f"/webhooks/{added(http)['id']}")


def test_webhooks_take_an_operator() -> None:
    from api.access import ACCESS

    names = ("add_webhook", "list_webhooks", "remove_webhook", "list_deliveries")
    assert {ACCESS[name] for name in names} == {Scope.OPERATOR}
