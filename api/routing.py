"""The route of this API's operations: an answer is made where its handler ran.

FastAPI checks a plain function's answer in a second turn through the thread pool and writes its
JSON on the event loop. A form that the handler made itself has been checked as it was made.
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.convertors import StringConvertor


class Route(APIRoute):
    """A route whose handler's forms are written as JSON in the handler's own thread."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        if not iscoroutinefunction(endpoint):
            endpoint = written(endpoint, how.get("status_code") or 200)
        super().__init__(path, endpoint, **how)


def written(handler: Callable[..., Any], status: int) -> Callable[..., Any]:
    """The handler, with JSON in place of a form. What it set on its `response` holds."""

    @wraps(handler)
    def answer(**parts: Any) -> Any:
        form = handler(**parts)
        if not isinstance(form, BaseModel):
            return form
        given = parts.get("response")
        text = form.model_dump_json(by_alias=True)
        reply = Response(text, status, media_type="application/json")
        if isinstance(given, Response):
            reply.status_code = given.status_code or status
            reply.raw_headers.extend(
                (name, value) for name, value in given.raw_headers if name != b"content-length"
            )
        return reply

    return answer


class JobPart(StringConvertor):
    """The part of a path that names a job: any but `quote`, which is a path of its own."""

    regex = "(?!quote$)[^/]+"
