"""Forms of the audit."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import Reply


class AuditEventReply(Reply):
    """What someone did."""

    id: int
    at: datetime
    account: str
    actor: str = Field(
        description="Prefix of the key, `oidc:` and the token's subject, `loopback`, or `host:` "
        "and a person of the host."
    )
    action: str
    object: str | None = Field(description="What it was done to.")
    address: str | None = Field(description="Where the request came from.")
    details: dict[str, Any]


class AuditPage(Reply):
    """Audit events, newest first. `next` is the cursor of the following page, null on the last."""

    items: list[AuditEventReply]
    next: int | None
