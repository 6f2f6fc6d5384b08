"""Every value that a request may hold has a bound in the document, and the server keeps to it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from api.openapi import COMMITTED
from tests.api.service import MODEL
from tests.api.test_jobs import problem_of

DOCUMENT = yaml.safe_load(COMMITTED.read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
# These formats leave few forms and no length.
FORMATS = {"uuid", "date", "date-time"}
# GeoJSON is bounded by the size of a body, its depth and its number of vertices.
OPEN = {"JobRequest.aoi", "AreaRequest.geometry"}


def taken() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every parameter and body of every operation, with its schema."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                yield f"{method} {path} {parameter['name']}", parameter["schema"]
            if "requestBody" in operation:
                (content,) = operation["requestBody"]["content"].values()
                yield content["schema"]["$ref"].rpartition("/")[2], content["schema"]


def unbounded(where: str, schema: dict[str, Any]) -> Iterator[str]:
    """Places in a schema that a value of any size fits into."""
    if where in OPEN:
        return
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from unbounded(name, SCHEMAS[name])
    for choice in schema.get("anyOf", []):
        yield from unbounded(where, choice)
    if "enum" in schema or "const" in schema:
        return
    match schema.get("type"):
        case "string" if "maxLength" not in schema and schema.get("format") not in FORMATS:
            yield f"{where}: a text of any length"
        case "integer" | "number" if not bounds(schema):
            yield f"{where}: a number without bounds"
        case "array":
            if "maxItems" not in schema:
                yield f"{where}: a list of any length"
            yield from unbounded(f"{where}[]", schema["items"])
        case "object":
            if schema.get("additionalProperties") is not False:
                yield f"{where}: members of any name"
            for name, member in schema.get("properties", {}).items():
                yield from unbounded(f"{where}.{name}", member)


def bounds(schema: dict[str, Any]) -> bool:
    """Whether a number has a least and a greatest value."""
    least = {"minimum", "exclusiveMinimum"} & set(schema)
    return bool(least and {"maximum", "exclusiveMaximum"} & set(schema))


@pytest.mark.parametrize(("where", "schema"), [*taken()])
def test_everything_that_is_taken_has_a_bound(where: str, schema: dict[str, Any]) -> None:
    assert not list(unbounded(where, schema))


def test_a_missing_bound_would_be_noticed() -> None:
    loose = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}
    assert list(unbounded("x", loose)) == [
        "x: a list of any length",
        "x[]: a text of any length",
        "x[]: a number without bounds",
    ]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("priority", False),
        ("priority", "5"),
        ("max_failed_tile_ratio", False),
        ("max_failed_tile_ratio", "0.5"),
        ("max_cloud_fraction", True),
        ("gpu_count", True),
        ("gpu_mem_mb", "1000"),
        ("reuse", 1),
        ("reuse", "yes"),
        ("accept_gsd_mismatch", "true"),
    ],
)
def test_a_value_of_another_type_is_refused_not_converted(
    http: httpx.Client, scene: str, member: str, value: Any
) -> None:
    body = {"model": MODEL, "scenes": [scene], member: value}
    found = problem_of(http.post("/jobs", json=body), 422)
    assert found["errors"][0]["pointer"] == f"/{member}"


@pytest.mark.parametrize("member", ["scale", "offset"])
def test_a_scenes_numbers_are_numbers(http: httpx.Client, member: str) -> None:
    found = problem_of(http.post("/scenes", json={"path": "small.tif", member: True}), 422)
    assert found["errors"][0]["pointer"] == f"/{member}"


@pytest.mark.parametrize("value", ["0.5", "0", "1700000000", "2026-11-25", "2026-11-25T07:30", "٢"])
def test_an_instant_is_written_out(http: httpx.Client, value: str) -> None:
    for name in ("created_after", "created_before"):
        found = problem_of(http.get("/jobs", params={name: value}), 422)
        assert found["errors"][0]["pointer"] == name
    assert http.get("/jobs", params={"created_after": "2026-11-25T07:30:00.5+02:00"}).is_success


@pytest.mark.parametrize("value", ["0", "1700000000", "2026-11-25T00:00:00Z", "2026-1-1", "٢"])
def test_a_day_is_written_out(http: httpx.Client, value: str) -> None:
    for name in ("first_day", "last_day"):
        found = problem_of(http.get("/usage/leaderboard", params={name: value}), 422)
        assert found["errors"][0]["pointer"] == name


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "PUT"])
def test_the_path_of_a_quote_is_no_jobs(http: httpx.Client, method: str) -> None:
    refused = http.request(method, "/jobs/quote", json={"priority": 1})
    problem_of(refused, 405)
    assert refused.headers["allow"] == "POST"
    problem_of(http.get("/jobs/quotes"), 422)
