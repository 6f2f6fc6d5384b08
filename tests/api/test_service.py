"""The server as a whole: health, errors, its document, its place among the rooms."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator

from api import dashboard, errors
from api.openapi import COMMITTED
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.secret import new_key
from tests.api.people import client, make_key
from tests.api.service import Service, away, listening, serving
from tests.api.test_jobs import problem_of

CHECKOUT = Path(__file__).parent.parent.parent


def test_a_live_process_is_healthy(service: Service) -> None:
    response = httpx.get(f"{service.url}/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_means_database_nats_and_a_worker_with_a_device(service: Service) -> None:
    without = httpx.get(f"{service.url}/readyz")
    assert without.status_code == 503
    parts = without.json()["parts"]
    assert {name: part["ok"] for name, part in parts.items()} == {
        "postgres": True,
        "nats": True,
        "worker": False,
    }
    worker = new_id()
    service.database.execute(
        "insert into constellation.workers (id, host, pid) values (%s, 'h', 1)", (worker,)
    )
    service.database.execute(
        "insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated,"
        " worker_id) values (%s, 'G', 'h', 0, 'CPU', 1, true, %s)",
        (new_id(), worker),
    )
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    service.database.execute(
        "update constellation.workers set heartbeat_at = now() - interval '1 minute'"
    )
    silent = httpx.get(f"{service.url}/readyz").json()
    assert (silent["ready"], silent["parts"]["worker"]["ok"]) == (False, False)


def test_a_lost_database_is_503_until_it_is_back(
    database_url: str, tmp_path: Path, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.main.POOL_TIMEOUT_S", 0.5)  # each request waits so long in vain
    name = database_url.partition("?")[0].rpartition("/")[2]
    with serving(database_url, nats_url, tmp_path) as service:
        assert service.http.get("/jobs").status_code == 200
        with away(database_url):
            assert name not in unavailable(service.http.get("/jobs"))
            for _, answer in asked_at_once(service, reads(service)):
                unavailable(answer)
            request = {"model": "any", "scenes": ["any"]}
            for path in ("/jobs", "/jobs/quote", f"/jobs/{new_id()}/cancel"):
                unavailable(service.http.post(path, json=request))
            unready = httpx.get(f"{service.url}/readyz", timeout=10)
            assert unready.status_code == 503
            assert unready.json()["parts"]["postgres"]["ok"] is False
            assert httpx.get(f"{service.url}/healthz").status_code == 200
        assert back(service.http).status_code == 200


def test_a_key_is_neither_taken_nor_refused_while_the_database_is_away(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.main.POOL_TIMEOUT_S", 0.5)
    with serving(database_url, None, tmp_path, auth="required") as service:
        good, wrong = make_key(service.database, "ann").text, new_key().text
        with away(database_url):
            for key in (good, wrong):
                with client(service, key) as http:
                    unavailable(http.get("/jobs"))
        with client(service, good) as http:
            assert back(http).status_code == 200
        with client(service, wrong) as http:
            problem_of(http.get("/jobs"), 401)


def unavailable(answer: httpx.Response) -> str:
    """What is said by an answer that asks to come back later."""
    assert problem_of(answer, 503)["code"] == "service_unavailable", answer.url
    assert answer.headers["retry-after"] == "2", answer.url
    return answer.text


def back(http: httpx.Client) -> httpx.Response:
    """The first answer that is no 503, of several."""
    for _ in range(120):
        if (answer := http.get("/jobs")).status_code != 503:
            break
    return answer


def reads(service: Service) -> list[str]:
    """A path of every operation that only reads, but for those that ask no database."""
    said = httpx.get(f"{service.url}/openapi.json").json()
    id = str(new_id())
    names = ("reference", "uuid", "job_id", "run_id", "webhook_id", "area_id")
    values = {"account": "me", "model": "any"} | dict.fromkeys(names, id)
    values |= dict.fromkeys("zxy", "0")
    asked = [
        path.format(**values)
        for path, operations in said["paths"].items()
        if "503" in operations.get("get", {"responses": {}})["responses"]
    ]
    without = {"/readyz", "/metrics", "/api/v1/about", "/api/v1/session"}
    pages = "/auth/oidc"  # without an identity provider they ask nobody
    kept = [path for path in asked if path not in without and not path.startswith(pages)]
    return [f"{path}?model=any" if "/analytics/" in path else path for path in kept]


def asked_at_once(service: Service, paths: list[str]) -> list[tuple[str, httpx.Response]]:
    """The answers of these paths: each waits some seconds for the database."""
    assert len(paths) >= 12
    with ThreadPoolExecutor(len(paths)) as threads:
        found = threads.map(lambda path: httpx.get(service.url + path, timeout=60), paths)
        return list(zip(paths, found, strict=True))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/stream", 404),
        ("DELETE", "/api/v1/jobs", 405),
        ("PUT", "/healthz", 405),
    ],
)
def test_every_error_is_a_problem(service: Service, method: str, path: str, status: int) -> None:
    problem_of(httpx.request(method, service.url + path), status)


def test_a_fault_of_ours_gives_a_number_and_no_inside(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, None, tmp_path) as service:
        service.database.execute("alter table constellation.jobs rename column name to title")
        found = problem_of(service.http.get("/jobs"), 500)
    assert found["code"] == "internal_error"
    assert "title" not in found["detail"]
    assert "column" not in found["detail"]


def test_the_root_is_a_page(service: Service) -> None:
    page = httpx.get(service.url)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


@contextmanager
def served(folder: Path) -> Iterator[httpx.Client]:
    app = FastAPI()
    errors.install(app)
    app.add_api_route("/api/v1/only-posts", lambda: None, methods=["POST"])
    dashboard.mount(app, folder=folder, dagster_url="http://localhost:3000/?a=1&b=<2>")
    with listening(app) as url, httpx.Client(base_url=url) as client:
        yield client


def test_without_a_dashboard_the_root_names_the_other_doors(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        page = client.get("/")
    assert page.status_code == 200
    assert 'href="/docs"' in page.text
    assert 'href="http://localhost:3000/?a=1&amp;b=&lt;2&gt;"' in page.text


def test_a_built_dashboard_is_served_and_leaves_the_api_its_errors(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "index.html").write_text("home")
    (tmp_path / "404.html").write_text("lost")
    (tmp_path / "jobs" / "index.html").write_text("jobs")
    with served(tmp_path) as client:
        assert client.get("/").text == "home"
        assert client.get("/jobs/").text == "jobs"
        assert (client.get("/no").status_code, client.get("/no").text) == (404, "lost")
        problem_of(client.get("/api/v1/no"), 404)
        problem_of(client.delete("/api/v1/no"), 404)
        problem_of(client.get("/api/v1/only-posts"), 405)


def test_the_committed_document_is_what_the_app_says(service: Service) -> None:
    said = httpx.get(f"{service.url}/openapi.json").json()
    assert yaml.safe_load(COMMITTED.read_text()) == said, (
        "write it anew: python -m api.openapi > api/openapi.yaml"
    )
    assert said["openapi"].startswith("3.1")


def test_every_operation_says_what_failures_look_like(service: Service) -> None:
    said = httpx.get(f"{service.url}/openapi.json").json()
    operations = [operation for path in said["paths"].values() for operation in path.values()]
    assert len(operations) >= 25
    for operation in operations:
        answers = operation["responses"]
        assert {"403", "431", "500"} <= set(answers)
        assert "default" not in answers, "then any answer would be a documented one"
        asked = "requestBody" in operation or "parameters" in operation
        assert ("422" in answers) == asked, operation["operationId"]
    for answer in said["components"]["responses"].values():
        assert "application/problem+json" in answer["content"]
    assert "HTTPValidationError" not in str(said)


def test_every_operation_has_examples_of_what_it_takes(service: Service) -> None:
    said = httpx.get(f"{service.url}/openapi.json").json()
    schemas = said["components"]["schemas"]
    for path in said["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] != "cursor":  # opaque
                    assert "example" in parameter, (operation["operationId"], parameter["name"])
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                form = schemas[content["schema"]["$ref"].rpartition("/")[2]]
                assert "example" in content or "example" in form, operation["operationId"]


def test_every_answer_has_an_example_that_has_its_form(service: Service) -> None:
    said = httpx.get(f"{service.url}/openapi.json").json()
    exact = deepcopy(said["components"])
    for form in exact["schemas"].values():  # an example leaves nothing out, and adds nothing
        if "properties" in form:
            form |= {"required": [*form["properties"]], "additionalProperties": False}
    tried = set()
    for path in said["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind in ("application/problem+json", "text/html"):
                        continue
                    tried.add(operation["operationId"])
                    if kind == "text/event-stream":  # its schema is that of one event
                        assert content["example"].startswith("id: 4711\nevent: line\ndata: ")
                        continue
                    schema = content["schema"] | {"components": exact}
                    found = Draft202012Validator(schema).iter_errors(content["example"])
                    assert not [*found], (operation["operationId"], status, kind)
    every = {
        operation["operationId"] for path in said["paths"].values() for operation in path.values()
    }
    assert every - tried == {"sign_out", "begin_login", "end_login"}, "they have no word to say"


def test_every_link_leads_to_an_operation(service: Service) -> None:
    said = httpx.get(f"{service.url}/openapi.json").json()
    operations = {o["operationId"]: o for path in said["paths"].values() for o in path.values()}
    links = [
        link
        for operation in operations.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) >= 15
    for link in links:
        target = operations[link["operationId"]]
        assert set(link.get("parameters", {})) <= {p["name"] for p in target.get("parameters", [])}
        assert "requestBody" in target or "requestBody" not in link


def test_a_refused_method_names_every_one_that_the_path_takes(service: Service) -> None:
    refused = httpx.put(f"{service.url}/api/v1/session")
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, POST")


def test_the_api_loads_neither_dagster_nor_torch_nor_rasterio() -> None:
    code = (
        "import sys, api.main, api.openapi;"
        "print([m for m in ('dagster', 'torch', 'rasterio', 'duckdb', 'geopandas', 'pandas')"
        " if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
