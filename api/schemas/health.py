"""Forms of health."""

from typing import Literal

from api.schemas.base import Reply


class Health(Reply):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Part(Reply):
    """One part that jobs need."""

    ok: bool
    detail: str


class Readiness(Reply):
    """Whether a job submitted now would run."""

    ready: bool
    parts: dict[str, Part]
