"""The OpenAPI document. `python -m api.openapi > api/openapi.yaml` writes the committed one."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI

from api import answers, examples, links
from api.access import ACCESS, PUBLIC
from api.errors import MEDIA_TYPE
from api.gate import COOKIE
from api.schemas.problem import Problem

COMMITTED = Path(__file__).parent / "openapi.yaml"
REFERENCE = "#/components/schemas/{model}"

SCHEMES: dict[str, dict[str, str]] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: cst_<prefix>_<secret>. Made by `constellation keys create`.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of the OIDC issuer that the deployment names, if it names one.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "Of POST /api/v1/session. Changes also need the header X-CSRF-Token.",
    },
}

# By status: the name of the answer, what it says, a header of its own.
REFUSALS: dict[str, tuple[str, str, str | None]] = {
    "401": ("Unauthenticated", "Nobody knows who asks", "WWW-Authenticate"),
    "403": ("Forbidden", "Who asks may not: scope, quota, origin or a CSRF token", None),
    "404": ("NotFound", "There is none, or it is another account's", None),
    "409": ("Conflict", "What there is stands in the way", None),
    "413": (
        "BodyTooLarge",
        "The body is larger than a request may be; where its area has too many vertices: 422",
        None,
    ),
    "422": ("Invalid", "The request cannot be taken as it is; `errors` point at the places", None),
    "429": ("TooManyRequests", "Requests come faster than they may", "Retry-After"),
    "431": ("HeadersTooLarge", "The headers are larger than a request may have", None),
    "500": ("InternalError", "A fault of the server's; its log has the number told", None),
    "503": ("Unavailable", "Something that is needed does not answer right now", "Retry-After"),
}

# Parameters of a query that name something that must be there; others only narrow a list.
SOUGHT = {"job", "scene"}


def install(app: FastAPI) -> None:
    """Let the app describe its errors as they are: every failure is a problem."""
    generate = app.openapi
    app.openapi = described(generate)  # type: ignore[method-assign]


def described(generate: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """`generate`, and problems instead of FastAPI's own error form."""

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        form = Problem.model_json_schema(ref_template=REFERENCE)
        schemas |= form.pop("$defs", {}) | {"Problem": form}
        for path in document["paths"].values():
            for method, operation in path.items():
                complete(method, operation)
        document["components"]["schemas"] = dict(sorted(schemas.items()))
        document["components"]["securitySchemes"] = SCHEMES
        document["components"]["responses"] = {
            name: problem_response(text, header) for name, text, header in REFUSALS.values()
        }
        return document

    return openapi


def ways_in(operation: str) -> list[dict[str, list[str]]]:
    """How one may say who one is, and the scope it takes; nothing where nobody needs to."""
    needed = ACCESS[operation]
    return [] if needed is PUBLIC else [{name: [needed.value]} for name in SCHEMES]


def complete(method: str, operation: dict[str, Any]) -> None:
    """Say of an operation all that FastAPI does not know: who may, refusals, examples, links."""
    name = operation["operationId"]
    responses = operation["responses"]
    responses.pop("422", None)
    for status in refused_with(method, operation):
        reference = f"#/components/responses/{REFUSALS[status][0]}"
        responses.setdefault(status, {"$ref": reference})
    operation["responses"] = dict(sorted(responses.items()))
    operation["security"] = ways_in(name)
    examples.give(operation)
    answers.give(operation)
    links.give(name, responses)


def refused_with(method: str, operation: dict[str, Any]) -> list[str]:
    """The statuses of an operation's refusals, by what it takes. Any may be asked by a foreign
    origin; who asks is looked up in the database.
    """
    needed = ACCESS[operation["operationId"]]
    has_body = "requestBody" in operation
    parameters = operation.get("parameters", [])
    applies = {
        "401": needed is not PUBLIC or has_body,
        "403": True,
        "404": any(one["in"] == "path" or one["name"] in SOUGHT for one in parameters),
        "409": method != "get" and needed is not PUBLIC,
        "413": has_body,
        "422": has_body or bool(parameters),
        "429": needed is not PUBLIC or has_body,
        "431": True,
        "500": True,
        "503": needed is not PUBLIC or has_body,
    }
    return [status for status, does in applies.items() if does]


def problem_response(text: str, header: str | None = None) -> dict[str, Any]:
    """How every failure is described."""
    schema = {"$ref": REFERENCE.format(model="Problem")}
    described: dict[str, Any] = {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
    if header is not None:
        described["headers"] = {header: {"schema": {"type": "string"}}}
    return described


def to_yaml(document: dict[str, Any]) -> str:
    """The document as text, in a stable order."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def main() -> None:
    """Print the document."""
    from api.main import create_app
    from constellation_pipelines.settings import Settings
    from constellation_pipelines.store.database import Database

    database = Database("postgresql:///none")
    sys.stdout.write(to_yaml(create_app(Settings(nats_url=None), database=database).openapi()))
    database.close()


if __name__ == "__main__":
    main()
