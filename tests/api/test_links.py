"""Each link of the OpenAPI document leads from a real answer to what it says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from api.links import LINKS
from api.openapi import COMMITTED
from api.schemas.job import EXAMPLE
from constellation_pipelines.domain.account import Scope
from tests.api.furnished import AUTH, HOOK_URL, Furnished, furnish
from tests.api.people import client
from tests.api.service import Service, serving, write_raster
from tests.api.walks import labels
from tests.conftest import PostgresServer, scratch_database

DOCUMENT = yaml.safe_load(COMMITTED.read_text())
AREA = {"geometry": EXAMPLE["aoi"]}
LABELS = labels(DOCUMENT)
CASES = [(*source, target) for source, targets in LINKS.items() for target in targets]
CASES.sort(key=lambda case: case[2] in ("remove_webhook", "remove_area"))  # the others need it


@dataclass(frozen=True)
class Place:
    """A server on which something has happened, and its admin."""

    service: Service
    http: httpx.Client
    there: Furnished


@pytest.fixture(scope="module")
def place(
    postgres: PostgresServer,
    template: str,
    nats_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("links")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), nats_url, folder, **AUTH) as service,
    ):
        there = furnish(service)
        with client(service, there.keys[Scope.ADMIN]) as http:
            yield Place(service, http, there)


def ask(http: httpx.Client, operation: str, values: dict[str, Any], body: Any) -> httpx.Response:
    """Send a request of an operation with values for its parameters, wherever they belong."""
    method, path = LABELS[operation].split(" ")
    for name in [name for name in values if "{" + name + "}" in path]:
        path = path.replace("{" + name + "}", str(values.pop(name)))
    url = path.removeprefix("/api/v1")
    return http.request(method, url, params=values, json=body)


def begin(place: Place, operation: str, status: str) -> tuple[dict[str, Any], Any]:
    """Values and a body with which this operation answers so."""
    there, http = place.there, place.http
    submission = {"model": there.model, "scenes": [there.scene]}
    values: dict[str, Any] = {"run_id": there.run, "webhook_id": there.webhook}
    body: Any = None
    if operation == "list_jobs":
        http.post("/jobs", json=submission)  # the newest one is not over
    elif operation in ("quote_job", "submit_job"):
        body = submission
    elif operation in ("show_job", "change_job", "cancel_job", "retry_job"):
        values["job_id"] = http.post("/jobs", json=submission).json()["id"]
        body = {"priority": 3} if operation == "change_job" else None
        if operation == "retry_job":
            http.post(f"/jobs/{values['job_id']}/cancel")
    elif operation == "add_scene":
        path = f"{there.scene}.tif"
        if status == "201":
            path = write_raster(place.service.scenes / "another.tif", size_px=64).name
        body = {"path": path}
    elif operation in ("add_area", "list_areas", "show_area"):
        name = {"201": "another"}.get(status, "kept") if operation == "add_area" else "kept"
        kept = http.post("/areas", json=AREA | {"name": "kept"})
        values["area_id"] = kept.json()["id"]
        body = AREA | {"name": name} if operation == "add_area" else None
        if operation == "add_area":
            for one in http.get("/areas", params={"name": "another"}).json()["items"]:
                http.delete(f"/areas/{one['id']}")
    elif operation == "add_webhook":
        body = {"url": HOOK_URL}
    elif operation == "sign_in":
        body = {"key": there.keys[Scope.VIEWER]}
    elif operation == "show_model":
        values["reference"] = there.model
    elif operation in ("show_classes", "show_series"):
        return {"model": there.model}, None
    _, path = LABELS[operation].split(" ")
    return {name: value for name, value in values.items() if "{" + name + "}" in path}, body


def evaluated(expression: str, answer: Any, values: dict[str, Any], body: Any) -> Any:
    """What a runtime expression of OpenAPI stands for."""
    if expression == "$request.body":
        return body
    if expression.startswith("$request.path."):
        return values[expression.removeprefix("$request.path.")]
    for step in expression.removeprefix("$response.body#/").split("/"):
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return answer


@pytest.mark.parametrize(("operation", "status", "target"), CASES)
def test_a_link_leads_from_an_answer_to_what_it_says(
    place: Place, operation: str, status: str, target: str
) -> None:
    values, body = begin(place, operation, status)
    first = ask(place.http, operation, dict(values), body)
    assert str(first.status_code) == status, first.text
    link = LINKS[operation, status][target]
    taken = {
        name: evaluated(expression, first.json(), values, body)
        for name, expression in link.get("parameters", {}).items()
    }
    assert None not in taken.values(), "there was nothing at the link's place"
    sent = {"priority": 4} if target == "change_job" else None
    if "requestBody" in link:
        sent = evaluated(link["requestBody"], first.json(), values, body)
    if target == "follow_logs":
        taken["follow"] = "false"
    second = ask(place.http, target, taken, sent)
    if target == "retry_job" and operation != "cancel_job":
        assert second.status_code == 409, "it is not over"
    else:
        assert second.is_success, second.text
