"""The OpenAPI document. `python -m api.openapi > api/openapi.yaml` writes the committed one."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI

from api.errors import MEDIA_TYPE
from api.schemas.problem import Problem

COMMITTED = Path(__file__).parent / "openapi.yaml"
REFERENCE = "#/components/schemas/{model}"


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
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = problem_response()
        document["components"]["schemas"] = dict(sorted(schemas.items()))
        return document

    return openapi


def problem_response() -> dict[str, Any]:
    """How every failure is described."""
    schema = {"$ref": REFERENCE.format(model="Problem")}
    return {"description": "What was wrong", "content": {MEDIA_TYPE: {"schema": schema}}}


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
