"""What one account sees of another: nothing."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import yaml
from websockets.sync.client import connect

from api.access import ACCESS
from api.openapi import COMMITTED
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.tile import tile_digest
from constellation_pipelines.domain.window import Window
from constellation_pipelines.store import events, queue
from constellation_pipelines.store.tenancy import ALL, NOBODY, ONE, Tenancy
from tests.api.people import client, make_key
from tests.api.service import MODEL, Service, add_scene, relaying, save_model, serving, square
from tests.api.test_jobs import problem_of
from tests.api.test_logs import say
from tests.conftest import PostgresServer, scratch_database

# What the accounts of a deployment share. Every other table has a policy, or is not the API's.
SHARED = {"scenes", "models", "gpus", "workers", "profiles", "limits", "device_load"}

TILE = """
insert into constellation.tiles
       (id, digest, scene_id, model_id, run_id, job_id, row_off_px, col_off_px, height_px, width_px,
        state, footprint, geom_3857, area_km2, class_counts, valid_fraction, read_ms, infer_ms)
select %(id)s, %(id)s::text, scene_id, model_id, id, job_id, 0, 0, 512, 512, 'COMPLETED',
       'MULTIPOLYGON(((15 45, 15.1 45, 15.1 45.1, 15 45)))',
       'SRID=3857;MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))', 1, '{}', 1, 1, 1
  from constellation.runs where id = %(run)s
"""

DEVICE = """
insert into constellation.gpus
       (id, uuid, host, idx, name, total_mem_mb, simulated, worker_id, engine_ready)
values (%(id)s, 'SIM-1', 'h', 0, 'CPU', 1024, true, %(worker)s, true)
"""

LEASE = """
insert into constellation.leases (fence, gpu_id, worker_id, run_id, account, mem_mb, expires_at)
values (nextval('constellation.fence'), %(gpu)s, %(worker)s, %(run)s, 'ann', 100,
        now() + interval '1 hour')
"""


@dataclass(frozen=True)
class Town:
    """A server, and two accounts. Everything that there is is Ann's."""

    service: Service
    ann: httpx.Client
    ben: httpx.Client
    admin: httpx.Client
    ben_key: str
    ann_key: str
    scene: str
    job: str
    run: str
    webhook: str
    area: str

    @property
    def secrets(self) -> set[str]:
        """What no reply to Ben may hold."""
        texts = {"Ann's field", "the name of Ann's job", "Ann's tile broke", "example.org/ann"}
        return {self.job, self.run, self.webhook, self.area} | texts


@pytest.fixture(scope="module")
def town(
    postgres: PostgresServer,
    template: str,
    nats_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), nats_url, folder, auth="required") as service,
        relaying(service.database.url, nats_url),
    ):
        save_model(service.database)
        keys = {
            who: make_key(service.database, who, scope).text
            for who, scope in (
                ("ann", Scope.OPERATOR),
                ("ben", Scope.OPERATOR),
                ("keeper", Scope.ADMIN),
            )
        }
        with (
            client(service, keys["ann"]) as ann,
            client(service, keys["ben"]) as ben,
            client(service, keys["keeper"]) as admin,
        ):
            scene = add_scene(Service(service.url, service.database, service.scenes, ann), "ann")
            body = {"model": MODEL, "scenes": [scene], "name": "the name of Ann's job"}
            job = ann.post("/jobs", json=body).json()["id"]
            run = ann.get(f"/jobs/{job}").json()["runs"][0]["id"]
            furnish(service, UUID(run))
            hook = ann.post("/webhooks", json={"url": "https://example.org/ann"}).json()["id"]
            field = {"name": "Ann's field", "geometry": square(15.0, 45.0, 15.1, 45.1)}
            area = ann.post("/areas", json=field).json()["id"]
            ann.patch(f"/jobs/{job}", json={"priority": 1})  # which the webhook is to be told
            known = (keys["ben"], keys["ann"], scene, job, run, hook, area)
            yield Town(service, ann, ben, admin, *known)


def furnish(service: Service, run: UUID) -> None:
    """Give Ann's run a tile, a place in the queue, a device and a fault."""
    worker, gpu = new_id(), new_id()
    with service.database.transaction() as connection:
        connection.execute(
            "insert into constellation.workers (id, host, pid) values (%s, 'h', 1)", (worker,)
        )
        connection.execute(DEVICE, {"id": gpu, "worker": worker})
        connection.execute(LEASE, {"gpu": gpu, "worker": worker, "run": run})
        connection.execute(TILE, {"id": new_id(), "run": run})
        connection.execute("select constellation.settle_coverage(1000)")
        connection.execute("update constellation.tiles set confidence = 0.5")  # not settled
        connection.execute(
            "insert into constellation.faults (id, run_id, gpu_id, kind, decision, message) values"
            " (%s, %s, %s, 'poison_tile', 'quarantine_tile', 'Ann''s tile broke'),"
            " (%s, null, %s, 'device', 'none', 'Xid 13')",
            (new_id(), run, gpu, new_id(), gpu),
        )
        queue.enqueue(
            connection, run_id=run, instance_ref="{}", resume=False, priority=0, gpu_count=1
        )


# ---- over HTTP ----


def ids_of(town: Town, path: str) -> str:
    """The path with Ann's ids in the places of its parameters."""
    reference = MODEL if "/models/" in path else town.scene
    asked = f"?model={MODEL}&scene={town.scene}" if "/analytics/" in path else ""
    return (
        path.replace("{job_id}", town.job)
        .replace("{run_id}", town.run)
        .replace("{webhook_id}", town.webhook)
        .replace("{area_id}", town.area)
        .replace("{reference}", reference)
        .replace("{uuid}", "SIM-1")
        .replace("{account}", "ann")
        .replace("{model}", MODEL)
        .replace("{z}/{x}/{y}", "0/0/0")
    ) + asked


def bodies(town: Town, operation: str) -> Any:
    submission = {"model": MODEL, "scenes": [town.scene]}
    return {
        "submit_job": submission,
        "quote_job": submission,
        "change_job": {"priority": 9},
        "add_scene": {"path": "ann.tif"},
        "add_webhook": {"url": "https://example.org/ben"},
        "add_area": {"name": "Ben's", "geometry": square(15.0, 45.0, 15.1, 45.1)},
        "sign_in": {"key": town.ben_key},
    }.get(operation)


def operations() -> list[tuple[str, str, str]]:
    document = yaml.safe_load(COMMITTED.read_text())
    return [
        (operation["operationId"], method, path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


OPERATIONS = operations()


@pytest.mark.parametrize(("operation", "method", "path"), OPERATIONS)
def test_no_operation_tells_another_account_anything(
    town: Town, operation: str, method: str, path: str
) -> None:
    url = town.service.url + ids_of(town, path)
    assert "{" not in url, "a new parameter: say what id of Ann's belongs there"
    before = state_of_ann(town)
    reply = town.ben.request(method, url, json=bodies(town, operation))
    own = ("{job_id}", "{run_id}", "{webhook_id}", "{area_id}", "{account}")
    if any(one in path for one in own):
        found = problem_of(reply, 404)
        unknown = url.replace(town.job, str(uuid4())).replace(town.run, str(uuid4()))
        unknown = unknown.replace(town.webhook, str(uuid4())).replace(town.area, str(uuid4()))
        unknown = unknown.replace("/accounts/ann", "/accounts/nobody")
        other = problem_of(town.ben.request(method, unknown, json=bodies(town, operation)), 404)
        assert found["code"] == other["code"], "whether it exists must not be told apart"
    else:
        assert reply.status_code < 500 or operation == "readyz"
        leaked = {secret for secret in town.secrets if secret in reply.text}
        assert not leaked, f"{method} {path} tells {leaked}"
    assert state_of_ann(town) == before, f"{method} {path} changed what is Ann's"


def state_of_ann(town: Town) -> list[dict[str, Any]]:
    return town.service.database.fetch_all(
        "select j.state, j.priority, r.state as run, q.priority as queued, s.item, s.uri, "
        "(select count(*) from constellation.webhooks where account = 'ann') as hooks, "
        "(select count(*) from constellation.areas where account = 'ann') as areas "
        "from constellation.jobs j join constellation.runs r on r.job_id = j.id "
        "join constellation.run_queue q on q.run_id = r.id "
        "join constellation.scenes s on s.id = r.scene_id where j.id = %s",
        (town.job,),
    )


def test_ann_and_an_admin_see_what_ben_does_not(town: Town) -> None:
    for http in (town.ann, town.admin):
        assert http.get(f"/jobs/{town.job}").json()["runs"][0]["id"] == town.run
        assert len(http.get(f"/runs/{town.run}/tiles").json()["features"]) == 1
        assert town.job in http.get("/jobs").text
        (gpu,) = http.get("/gpus").json()["items"]
        assert gpu["held_by"]["run_id"] == town.run
        assert "Ann's tile broke" in {fault["message"] for fault in gpu["faults"]}


def test_ben_is_told_that_a_device_is_busy_but_not_by_whose_run(town: Town) -> None:
    (gpu,) = town.ben.get("/gpus").json()["items"]
    assert (gpu["runs"], gpu["leased_mem_mb"], gpu["held_by"]) == (1, 100, None)
    assert [fault["message"] for fault in gpu["faults"]] == ["Xid 13"]


def test_filters_find_nothing_of_anothers(town: Town) -> None:
    for query in (
        "submitted_by=ann",
        f"model={MODEL}",
        "near=15,45&radius_m=1000000",
        "bbox=-180,-90,180,90",
        "state=PENDING",
    ):
        assert town.job not in town.ben.get(f"/jobs?{query}").text


def test_ben_is_told_where_his_run_stands_among_all(town: Town) -> None:
    job = town.ben.post("/jobs", json={"model": MODEL, "scenes": [town.scene]}).json()
    run = town.ben.get(f"/jobs/{job['id']}").json()["runs"][0]["id"]
    with town.service.database.transaction() as connection:
        queue.enqueue(
            connection, run_id=UUID(run), instance_ref="{}", resume=False, priority=0, gpu_count=1
        )
    shown = town.ben.get(f"/jobs/{job['id']}")
    assert shown.json()["runs"][0]["waiting"]["place"] == 2
    assert not {secret for secret in town.secrets if secret in shown.text}


def test_one_idempotency_key_serves_two_accounts(town: Town) -> None:
    body = {"model": MODEL, "scenes": [town.scene]}
    headers = {"Idempotency-Key": "the same"}
    anns = town.ann.post("/jobs", json=body, headers=headers).json()
    bens = town.ben.post("/jobs", json=body, headers=headers)
    assert bens.status_code == 202
    assert bens.json()["id"] != anns["id"]


def test_a_scene_that_another_account_has_used_cannot_be_described_anew(town: Town) -> None:
    reply = town.ben.post("/scenes", json={"path": "ann.tif", "scale": 0.5})
    assert problem_of(reply, 409)["code"] == "conflict"


def test_results_are_not_reused_across_accounts() -> None:
    window = Window(0, 0, 512, 512)
    digests = {tile_digest("s", "m", window, account) for account in ("ann", "ben", "local")}
    assert len(digests) == 3
    assert tile_digest("s", "m", window, "dagster-ui") == tile_digest("s", "m", window, "local")


# ---- over the stream ----


def test_the_stream_tells_each_account_its_own(town: Town) -> None:
    url = town.service.websocket_url
    header = {"Authorization": f"Bearer {town.ben_key}"}
    own = town.ben.post("/jobs", json={"model": MODEL, "scenes": [town.scene]}).json()["id"]
    for query in ("", "?after=0", f"?job_id={town.job}&after=0"):
        with connect(url + query, additional_headers=header) as socket:
            with town.service.database.transaction() as connection:
                events.emit(connection, "job.noted", UUID(town.job), None, {"n": 1})
            with town.service.database.transaction() as connection:
                events.emit(connection, "job.noted", UUID(own), None, {"n": 2})
            if "job_id" in query:
                (live,) = json.loads(socket.recv(timeout=30))
                assert live["type"] == "stream.subscribed"
                with pytest.raises(TimeoutError):
                    socket.recv(timeout=2)
                continue
            found: list[dict[str, Any]] = []
            while not any(event["payload"].get("n") == 2 for event in found):
                found += json.loads(socket.recv(timeout=30))
            assert town.job not in {event["job_id"] for event in found}


def test_a_log_is_told_to_its_account_only(town: Town, nats_url: str) -> None:
    say(nats_url, UUID(town.job), 0, 3, account="ann")
    ask = json.dumps({"subscribe": ["logs"], "job_id": town.job, "after_log": 0})
    heard = {}
    for who in (town.ben_key, town.ann_key):
        header = {"Authorization": f"Bearer {who}"}
        url = f"{town.service.websocket_url}?topics=none"
        with connect(url, additional_headers=header) as socket:
            socket.send(ask)
            found: list[dict[str, Any]] = []
            while not any(one["type"] == "stream.subscribed" for one in found):
                found += json.loads(socket.recv(timeout=30))
            say(nats_url, UUID(town.job), 3, 1, account="ann")
            with suppress(TimeoutError):
                found += json.loads(socket.recv(timeout=3))
            heard[who] = [one["payload"]["text"] for one in found if one["type"] == "log.line"]
    assert heard[town.ben_key] == []
    assert heard[town.ann_key][:3] == ["line 0", "line 1", "line 2"]
    assert heard[town.ann_key][-1] == "line 3"


# ---- in the database ----


def test_every_table_that_the_api_may_read_is_shared_or_has_a_policy(town: Town) -> None:
    for role in (ONE, ALL):
        granted = town.service.database.fetch_all(
            "select distinct g.table_name, c.relrowsecurity"
            "  from information_schema.role_table_grants g"
            " join pg_class c on c.relname = g.table_name"
            "  and c.relnamespace = 'constellation'::regnamespace"
            " where g.grantee = %s and g.table_schema = 'constellation'",
            (role,),
        )
        assert granted
        open_tables = {row["table_name"] for row in granted if not row["relrowsecurity"]}
        assert open_tables == SHARED


OWN = (
    *("jobs", "runs", "tiles", "events", "run_queue", "leases"),
    *("webhooks", "webhook_deliveries", "areas"),
    *("coverage_cells", "coverage_changes", "coverage_totals"),
)


@pytest.mark.parametrize("table", OWN)
def test_a_forgotten_filter_shows_nothing_of_anothers(town: Town, table: str) -> None:
    count = f"select count(*)::int as n from constellation.{table}"
    column = "submitted_by" if table == "jobs" else "account"
    anns = f"{count} where {column} = 'ann'"
    database = town.service.database
    assert database.fetch_one(anns) != {"n": 0}
    assert database.bound(Tenancy("ann")).fetch_one(anns) == database.fetch_one(anns)
    assert database.bound(Tenancy("", True)).fetch_one(count) == database.fetch_one(count)
    assert database.bound(Tenancy("ben")).fetch_one(anns) == {"n": 0}
    for stranger in (NOBODY, Tenancy("no' or 'one"), Tenancy("%")):
        assert database.bound(stranger).fetch_one(count) == {"n": 0}


@pytest.mark.parametrize("table", ["api_keys", "sessions", "audit_events", "tile_attempts"])
def test_an_account_may_not_even_ask_for_keys_sessions_and_the_audit(
    town: Town, table: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        town.service.database.bound(Tenancy("ann", actor="x")).fetch_all(
            f"select * from constellation.{table}"
        )


def test_nobody_can_write_rows_of_anothers(town: Town) -> None:
    bens = town.service.database.bound(Tenancy("ben", actor="x"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        bens.execute(
            "insert into constellation.jobs (id, name, params, state, submitted_by)"
            " values (%s, 'x', '{}', 'PENDING', 'ann')",
            (new_id(),),
        )
    assert (
        bens.execute("update constellation.jobs set name = 'mine' where id = %s", (town.job,)) == 0
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        bens.execute("delete from constellation.jobs")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        bens.execute(
            "insert into constellation.audit_events (account, actor, action) values ('ann','','')"
        )


def test_a_run_cannot_belong_to_a_job_of_another_account(town: Town) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="runs_of_own_account"):
        town.service.database.execute(
            "insert into constellation.runs (id, job_id, account, state)"
            " values (%s, %s, 'ben', 'QUEUED')",
            (new_id(), town.job),
        )


def test_the_account_of_a_transaction_ends_with_it(town: Town) -> None:
    """Connections are used again by whoever comes next."""
    database = town.service.database
    with database.bound(Tenancy("ann")).transaction() as connection:
        connection.execute("select 1")
        with psycopg.connect(database.url) as other:
            assert other.execute("select current_setting('role')").fetchone() == ("none",)
    for _ in range(10):
        assert database.fetch_one("select current_user = session_user as own") == {"own": True}
        assert database.bound(NOBODY).fetch_all("select 1 from constellation.jobs") == []


NEAR = """
select count(*)::int as n from constellation.tiles_near(
  st_setsrid(st_makepoint(15, 45), 4326)::geography, 1000)
"""


def test_tiles_near_a_place_are_an_accounts_own_too(town: Town) -> None:
    database = town.service.database
    counts = [
        database.bound(tenancy).fetch_one(NEAR)
        for tenancy in (Tenancy("ann"), Tenancy("", True), Tenancy("ben"), NOBODY)
    ]
    assert counts == [{"n": 1}, {"n": 1}, {"n": 0}, {"n": 0}]
    assert database.fetch_one(NEAR) == {"n": 1}


def test_every_operation_is_walked() -> None:
    assert {operation for operation, *_ in OPERATIONS} == ACCESS.keys() - {"stream", "index"}
