"""Routes of webhooks."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.deps import DatabasePart, PrincipalPart, SettingsPart
from api.routing import Route
from api.schemas.webhook import (
    DeliveryPage,
    DeliveryReply,
    NewWebhook,
    WebhookList,
    WebhookReply,
    WebhookRequest,
)
from constellation_pipelines.domain.webhook import checked_url, new_secret
from constellation_pipelines.store import audit, webhooks
from constellation_pipelines.store.vault import Vault

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], route_class=Route)

MAX_ID = 2**63 - 1


@router.post("", status_code=201, summary="Add a webhook")
def add_webhook(
    request: WebhookRequest,
    database: DatabasePart,
    principal: PrincipalPart,
    settings: SettingsPart,
) -> NewWebhook:
    """Have the events of the account's jobs posted to a URL. The reply holds the secret that signs
    them, once."""
    parts = checked_url(request.url, settings.webhook_private_hosts)
    secret = new_secret()
    kept = Vault(settings.secret_key_file).sealed(secret)
    with database.transaction() as connection:
        made = webhooks.add(connection, principal.account, request.url, request.event_types, kept)
        audit.record(connection, "webhook.added", str(made.id), host=parts.hostname)
    shown = WebhookReply.model_validate(made).model_dump()
    return NewWebhook(**shown, secret=secret)


@router.get("", summary="List webhooks")
def list_webhooks(database: DatabasePart) -> WebhookList:
    """Webhooks, without their secrets."""
    with database.transaction() as connection:
        found = webhooks.list_all(connection)
    return WebhookList(items=[WebhookReply.model_validate(one) for one in found])


@router.delete("/{webhook_id}", summary="Remove a webhook")
def remove_webhook(webhook_id: UUID, database: DatabasePart) -> WebhookReply:
    """Remove a webhook, and with it what it has not been told yet."""
    with database.transaction() as connection:
        removed = webhooks.remove(connection, webhook_id)
        audit.record(connection, "webhook.removed", str(webhook_id))
    return WebhookReply.model_validate(removed)


@router.get("/{webhook_id}/deliveries", summary="List deliveries")
def list_deliveries(
    webhook_id: UUID,
    database: DatabasePart,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> DeliveryPage:
    """What a webhook was told and is to be told, newest first. Kept for a week after its end."""
    with database.transaction() as connection:
        found = webhooks.deliveries(connection, webhook_id, before=cursor, limit=limit + 1)
    page = found[:limit]
    return DeliveryPage(
        items=[DeliveryReply.model_validate(one) for one in page],
        next=page[-1].id if len(found) > limit else None,
    )
