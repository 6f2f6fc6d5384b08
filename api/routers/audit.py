"""The route of the audit."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import DatabasePart
from api.routing import Route
from api.schemas.audit import AuditEventReply, AuditPage
from api.schemas.base import Line
from constellation_pipelines.store import audit

router = APIRouter(prefix="/api/v1/audit", tags=["audit"], route_class=Route)

MAX_ID = 2**63 - 1


@router.get("", summary="List audit events")
def list_audit(
    database: DatabasePart,
    account: Annotated[Line | None, Query(description="Of this account only.")] = None,
    action: Annotated[Line | None, Query(description="Such as `job.submitted`.")] = None,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> AuditPage:
    """Who did what, newest first."""
    with database.transaction() as connection:
        found = audit.list_page(
            connection, account=account, action=action, before=cursor, limit=limit + 1
        )
    page = found[:limit]
    return AuditPage(
        items=[AuditEventReply.model_validate(item) for item in page],
        next=page[-1].id if len(found) > limit else None,
    )
