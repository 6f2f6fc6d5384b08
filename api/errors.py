"""From errors to replies: one table, one form (RFC 9457)."""

import logging
import re
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.schemas.problem import Fault, Problem
from constellation_pipelines.domain import errors

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
CHALLENGE = 'Bearer realm="constellation"'
FAULTS_SHOWN = 20
UNREADABLE = "the body cannot be read: it is no UTF-8, too deep, or has a number of too many digits"

STATUS: dict[type[errors.ConstellationError], int] = {
    errors.InvalidInput: 422,
    errors.SceneRefused: 422,
    errors.ModelRefused: 422,
    errors.SceneUnfit: 422,
    errors.AoiMissesScene: 422,
    errors.ReadFailed: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.QuotaExceeded: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.LeaseLost: 409,
    errors.TooManyRequests: 429,
    errors.ServiceUnavailable: 503,
}

log = logging.getLogger(__name__)


class ProblemResponse(JSONResponse):
    """A reply that says what went wrong."""

    media_type = MEDIA_TYPE


def problem(
    status: int,
    code: str,
    detail: str,
    faults: Sequence[Fault] = (),
    headers: dict[str, str] | None = None,
) -> ProblemResponse:
    """The reply for an error."""
    body = Problem(
        type=f"urn:constellation:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(faults),
    )
    return ProblemResponse(body.model_dump(), status, headers)


def install(app: FastAPI) -> None:
    """Answer every error of this app with a problem."""
    app.add_exception_handler(errors.ConstellationError, on_known)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_unexpected)


def on_known(request: Request, error: Exception) -> ProblemResponse:
    """An error with a message for users."""
    assert isinstance(error, errors.ConstellationError)
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)
    if status is None:
        return on_unexpected(request, error)
    faults = [Fault(pointer=pointer(error.field), detail=error.message)] if error.field else []
    return problem(status, error.code, error.message, faults, headers_of(error, status))


def headers_of(error: errors.ConstellationError, status: int) -> dict[str, str]:
    """What a client is told beside the reason: when to try again, how to say who it is."""
    if isinstance(error, errors.TooManyRequests):
        return {"Retry-After": str(max(1, ceil(error.retry_after_s)))}
    if status == 401:
        return {"WWW-Authenticate": CHALLENGE}
    return {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}


def on_invalid(request: Request, error: Exception) -> ProblemResponse:
    """A request of the wrong form. The values sent are not repeated."""
    assert isinstance(error, RequestValidationError)
    faults = [fault_of(item) for item in error.errors()[:FAULTS_SHOWN]]
    first = faults[0]
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return problem(422, "invalid_request", f"{first.pointer}: {first.detail}{more}", faults)


def on_http(request: Request, error: Exception) -> ProblemResponse:
    """No such route, method not allowed, a body that cannot be read at all."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI's word for it; of what is no JSON it says 422
        fault = Fault(pointer="", detail=UNREADABLE)
        return problem(422, "invalid_request", fault.detail, [fault])
    code = HTTPStatus(error.status_code).name.lower()
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404:
        detail = "there is nothing at this path; /docs shows what there is"
    elif error.status_code == 405:
        detail = f"this path does not take {request.method}; /docs shows what it takes"
        headers |= {"Allow": ", ".join(methods)} if (methods := methods_of(request)) else {}
    return problem(error.status_code, code, detail, headers=headers)


def methods_of(request: Request) -> list[str]:
    """What this path takes. Starlette's own answer names the methods of its first route only."""
    operations = getattr(request.app.state, "operations", ())
    found = [route for route in operations if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in found for method in getattr(route, "methods", ())})


def on_unexpected(request: Request, error: Exception) -> ProblemResponse:
    """A fault of ours: the log has the cause, the reply only its number."""
    number = uuid.uuid4().hex
    log.error("error %s in %s %r", number, request.method, request.url.path, exc_info=error)
    detail = f"something went wrong on our side; the API's log has it under {number}"
    return problem(500, "internal_error", detail)


def fault_of(item: dict[str, Any]) -> Fault:
    """One of FastAPI's findings."""
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        return Fault(pointer="", detail=f"the body is not JSON at character {path[0]}")
    if item["type"] == "uuid_parsing":
        item = item | {
            "msg": "this is no id: ids are UUIDs, as the lists of what there is show them"
        }
    joined = "".join(f"/{escape(str(part))}" for part in path)
    where = joined if place == "body" else joined.removeprefix("/")
    return Fault(pointer=where, detail=str(item["msg"]))


def pointer(field: str) -> str:
    """A JSON pointer for a field such as `scenes[1].key`."""
    if field.startswith("/"):
        return field
    parts = re.sub(r"\[(\d+)\]", r".\1", field).split(".")
    return "".join(f"/{escape(part)}" for part in parts)


def escape(part: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return part.replace("~", "~0").replace("/", "~1")
