"""Who is let in where authentication is required, and who is not."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from api import guard as guards
from api.access import ACCESS, check_complete
from api.guard import FAILURES_BURST, Guard
from api.openapi import COMMITTED
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.errors import TooManyRequests, Unauthenticated
from constellation_pipelines.domain.secret import new_key
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import accounts, keys
from constellation_pipelines.store.accounts import Quota
from constellation_pipelines.store.database import Database
from tests.api.people import client, expire, make_key
from tests.api.service import MODEL, Service, add_scene, save_model, serving, square
from tests.api.test_jobs import problem_of
from tests.conftest import PostgresServer, scratch_database


@pytest.fixture(scope="module")
def guarded(
    postgres: PostgresServer,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
    known_for_s: float,
) -> Iterator[Service]:
    """A server that wants to know who asks."""
    folder = tmp_path_factory.mktemp("guarded")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder, auth="required") as running,
    ):
        save_model(running.database)
        yield running


@pytest.fixture(scope="module")
def scene(guarded: Service) -> str:
    key = make_key(guarded.database, "keeper").text
    guarded.http.headers["Authorization"] = f"Bearer {key}"
    try:
        return add_scene(guarded, "guarded")
    finally:
        del guarded.http.headers["Authorization"]


def refused(reply: httpx.Response) -> str:
    found = problem_of(reply, 401)
    assert found["code"] == "unauthenticated"
    assert reply.headers["www-authenticate"] == 'Bearer realm="constellation"'
    return str(found["detail"])


# ---- keys ----


def test_without_a_key_only_what_needs_none_is_answered(guarded: Service) -> None:
    document = yaml.safe_load(COMMITTED.read_text())
    with client(guarded) as http:
        http.base_url = guarded.url
        for path, item in document["paths"].items():
            for method, operation in item.items():
                filled = path.replace("{", "").replace("}", "")
                reply = http.request(method, filled)
                if operation["security"]:
                    refused(reply)
                else:
                    # There is no identity provider here to sign in at.
                    missing = (404,) if path.startswith("/auth/oidc") else ()
                    assert reply.status_code in (200, 422, 503, *missing), (method, path)
        refused(http.get("/api/v1/nothing-like-it"))
        refused(http.delete("/api/v1/jobs"))


def test_the_dashboards_files_and_the_documents_are_everyones(guarded: Service) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz"):
        assert httpx.get(guarded.url + path).status_code == 200


def test_a_key_opens_its_account(guarded: Service, scene: str) -> None:
    key = make_key(guarded.database, "ann")
    with client(guarded, key.text) as http:
        who = http.get("/session").json()
        assert (who["account"], who["scope"], who["door"]) == ("ann", "operator", "key")
        assert (who["actor"], who["csrf_token"]) == (key.prefix, None)
        reply = http.post("/jobs", json={"model": MODEL, "scenes": [scene]})
        assert reply.status_code == 202
        assert reply.json()["submitted_by"] == "ann"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer x",
        "Bearer",
        "Basic YW5uOnMzY3JldA==",
        "Bearer cst_aaaaaaaa_" + "A" * 43,
        "Bearer cst_AAAAAAAA_" + "A" * 43,
        "Bearer cst_" + "a" * 20_000,
        "Bearer ' or true --",
        "Bearer css_" + "A" * 43,
        "Bearer a.b.c",
        "Bearer null",
        "Bearer \xff\xfe",
        "cst_aaaaaaaa_" + "A" * 43,
    ],
)
def test_what_is_no_good_key_opens_nothing(guarded: Service, header: str) -> None:
    reply = httpx.get(
        f"{guarded.url}/api/v1/jobs", headers=[(b"Authorization", header.encode("latin-1"))]
    )
    refused(reply)


def test_two_keys_at_once_open_nothing(guarded: Service) -> None:
    one, other = make_key(guarded.database, "ann"), make_key(guarded.database, "ben")
    both = [("Authorization", f"Bearer {key.text}") for key in (one, other)]
    refused(httpx.get(f"{guarded.url}/api/v1/jobs", headers=both))


def test_the_prefix_of_a_key_with_another_secret_opens_nothing(guarded: Service) -> None:
    key, other = make_key(guarded.database, "ann"), new_key()
    mixed = f"cst_{key.prefix}_{other.text.split('_', 2)[2]}"
    with client(guarded, mixed) as http:
        assert "unknown, revoked or expired" in refused(http.get("/jobs"))


def test_a_key_that_is_revoked_opens_nothing_within_seconds(
    guarded: Service, known_for_s: float
) -> None:
    key = make_key(guarded.database, "ann")
    with client(guarded, key.text) as http:
        assert http.get("/jobs").status_code == 200
        with guarded.database.transaction() as connection:
            keys.revoke(connection, key.prefix)
        time.sleep(known_for_s)
        refused(http.get("/jobs"))


def test_a_key_opens_nothing_once_it_has_expired(guarded: Service, known_for_s: float) -> None:
    key = make_key(guarded.database, "ann", lasts_s=3600)
    with client(guarded, key.text) as http:
        assert http.get("/jobs").status_code == 200
        expire(guarded.database, key)
        time.sleep(known_for_s)
        refused(http.get("/jobs"))


def test_only_the_hash_of_a_key_is_kept(guarded: Service) -> None:
    key = make_key(guarded.database, "ann")
    row = guarded.database.fetch_one(
        "select k::text as kept from constellation.api_keys k where prefix = %s", (key.prefix,)
    )
    assert row is not None
    assert key.text.split("_", 2)[2] not in row["kept"]


def test_the_use_of_a_key_is_noted(guarded: Service) -> None:
    key = make_key(guarded.database, "ann")
    with client(guarded, key.text) as http:
        http.get("/jobs")
    with guarded.database.transaction() as connection:
        assert keys.find(connection, key.prefix).last_used_at is not None


# ---- scopes ----


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_opens_what_it_says_and_no_more(guarded: Service, scope: Scope) -> None:
    document = yaml.safe_load(COMMITTED.read_text())
    key = make_key(guarded.database, "scoped", scope)
    with client(guarded, key.text) as http:
        http.base_url = guarded.url
        for path, item in document["paths"].items():
            for method, operation in item.items():
                filled = path.replace("{", "").replace("}", "")
                reply = http.request(method, filled, json={})
                needed = ACCESS[operation["operationId"]]
                if needed is not None and not scope.covers(needed):
                    assert problem_of(reply, 403)["code"] == "forbidden", (method, path)
                    assert needed.value in reply.json()["detail"]
                else:
                    assert reply.status_code not in (401, 403, 500), (method, path)


def test_the_document_names_the_scope_of_each_operation() -> None:
    document = yaml.safe_load(COMMITTED.read_text())
    schemes = document["components"]["securitySchemes"]
    for item in document["paths"].values():
        for operation in item.values():
            needed = ACCESS[operation["operationId"]]
            if needed is None:
                assert operation["security"] == []
            else:
                assert operation["security"] == [{name: [needed.value]} for name in schemes]
                assert {"401", "403", "429"} <= operation["responses"].keys()


def test_an_operation_that_nobody_is_named_for_keeps_the_app_from_being_made() -> None:
    from fastapi import APIRouter

    router = APIRouter()

    @router.get("/new")
    def forgotten() -> None: ...

    with pytest.raises(LookupError, match="forgotten"):
        check_complete([router])


# ---- without authentication ----


def test_on_loopback_nobody_needs_a_key_but_may_have_one(
    postgres: PostgresServer, template: str, tmp_path: Path
) -> None:
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, tmp_path) as service,
    ):
        who = service.http.get("/session").json()
        assert (who["account"], who["scope"], who["door"]) == ("local", "admin", "loopback")
        key = make_key(service.database, "ann", Scope.VIEWER)
        with client(service, key.text) as http:
            assert http.get("/session").json()["account"] == "ann"
            assert http.post("/jobs", json={}).status_code == 403
        with client(service, new_key().text) as http:
            refused(http.get("/jobs"))


# ---- rates ----


def test_who_asks_too_often_is_told_when_to_come_again(
    postgres: PostgresServer, template: str, tmp_path: Path
) -> None:
    once_in_a_while = {"rate_reads_per_s": 0.02, "rate_writes_per_s": 0.02}
    with (
        scratch_database(postgres, template) as name,
        serving(
            postgres.url_of(name), None, tmp_path, auth="required", **once_in_a_while
        ) as service,
    ):
        ann = make_key(service.database, "ann").text
        second = make_key(service.database, "ann").text
        ben = make_key(service.database, "ben").text
        with client(service, ann) as http:
            assert http.get("/jobs").status_code == 200
            late = http.get("/jobs")
            assert problem_of(late, 429)["code"] == "too_many_requests"
            assert 1 <= int(late.headers["retry-after"]) <= 50
            assert http.post("/jobs", json={}).status_code == 422  # changes have their own rate
            assert http.post("/jobs", json={}).status_code == 429
        with client(service, second) as http:
            assert http.post("/jobs", json={}).status_code == 429  # another key is no way around
        with client(service, ben) as http:
            assert http.get("/jobs").status_code == 200


def test_an_address_that_guesses_keys_is_slowed_down(database: Database) -> None:
    now_s = [0.0]
    guard = Guard(Settings(auth="required"), database, lambda: now_s[0])
    good = make_key(database, "ann").text
    assert guard.look_up(good, "here").account == "ann"
    for _ in range(FAILURES_BURST):
        with pytest.raises(Unauthenticated):
            guard.look_up(new_key().text, "here")
    for token in (new_key().text, good):
        with pytest.raises(TooManyRequests) as refused:
            guard.look_up(token, "here")
        assert 0 < refused.value.retry_after_s <= 1
    assert guard.known(good)[0] is not None  # who is known is not looked up again
    assert guard.look_up(good, "elsewhere").account == "ann"
    now_s[0] += refused.value.retry_after_s
    assert guard.look_up(good, "here").account == "ann"


def test_one_request_looks_again_while_the_others_go_on(database: Database) -> None:
    now_s = [0.0]
    guard = Guard(Settings(auth="required"), database, lambda: now_s[0])
    token = make_key(database, "ann").text
    guard.look_up(token, "here")
    assert known_to(guard, token) == ["ann", "ann"]
    now_s[0] = guards.FRESH_FOR_S
    assert known_to(guard, token) == [None, "ann"]
    assert known_to(guard, token) == ["ann", "ann"]
    now_s[0] = guards.KNOWN_FOR_S  # nobody has come back with an answer
    assert known_to(guard, token) == [None, None]


def test_who_looks_again_and_is_refused_shuts_out_the_others(database: Database) -> None:
    now_s = [0.0]
    guard = Guard(Settings(auth="required"), database, lambda: now_s[0])
    key = make_key(database, "ann")
    guard.look_up(key.text, "here")
    with database.transaction() as connection:
        keys.revoke(connection, key.prefix)
    now_s[0] = guards.FRESH_FOR_S
    assert known_to(guard, key.text) == [None, "ann"]
    with pytest.raises(Unauthenticated):
        guard.look_up(key.text, "here")
    assert known_to(guard, key.text) == [None, None]


def known_to(guard: Guard, token: str) -> list[str | None]:
    """What two requests in a row are told."""
    told = [guard.known(token)[0] for _ in range(2)]
    return [None if found is None else found.account for found in told]


# ---- audit ----


def test_what_is_done_is_kept_with_who_did_it(guarded: Service, scene: str) -> None:
    key = make_key(guarded.database, "cleo")
    admin = make_key(guarded.database, "keeper", Scope.ADMIN)
    with client(guarded, key.text) as http, client(guarded, admin.text) as keeper:
        job = http.post("/jobs", json={"model": MODEL, "scenes": [scene]}).json()["id"]
        http.patch(f"/jobs/{job}", json={"priority": 5})
        http.post(f"/jobs/{job}/cancel")
        http.post(f"/jobs/{job}/retry")
        found = keeper.get("/audit", params={"account": "cleo"}).json()["items"]
        actions = ["job.retried", "job.cancelled", "job.prioritised", "job.submitted"]
        assert [item["action"] for item in found] == actions
        for item in found:
            assert (item["actor"], item["object"]) == (key.prefix, job)
            assert item["address"] == "127.0.0.1"
        assert found[2]["details"] == {"priority": 5}
        page = keeper.get("/audit", params={"account": "cleo", "limit": 3}).json()
        last = keeper.get("/audit", params={"account": "cleo", "cursor": page["next"]}).json()
        assert [item["action"] for item in last["items"]] == ["job.submitted"]
        assert last["next"] is None
        assert http.get("/audit").status_code == 403


def test_what_was_refused_is_not_said_to_have_been_done(guarded: Service, scene: str) -> None:
    key = make_key(guarded.database, "dora")
    with client(guarded, key.text) as http:
        assert http.post("/jobs", json={"model": "no@1", "scenes": [scene]}).status_code == 422
        unknown = "00000000-0000-0000-0000-000000000000"
        assert http.post(f"/jobs/{unknown}/cancel").status_code == 404
    rows = guarded.database.fetch_all(
        "select 1 from constellation.audit_events where account = 'dora'"
    )
    assert rows == []


# ---- quotas ----


def test_a_job_beyond_the_quota_is_refused_with_the_numbers(guarded: Service, scene: str) -> None:
    key = make_key(guarded.database, "emma")
    with guarded.database.transaction() as connection:
        accounts.set_quota(connection, "emma", Quota(km2_per_job=30))
    body = {"model": MODEL, "scenes": [scene]}
    with client(guarded, key.text) as http:
        found = problem_of(http.post("/jobs", json=body), 403)
        assert found["code"] == "quota_exceeded"
        assert "account emma may have 30.0 km2 per job" in found["detail"]
        assert found["errors"][0]["pointer"] == "/aoi"
        first_tile = square(15.01, 45.12, 15.02, 45.13)  # 26 km2 of the scene's 105
        assert http.post("/jobs", json=body | {"aoi": first_tile}).status_code == 202
        assert len(http.get("/jobs").json()["items"]) == 1
