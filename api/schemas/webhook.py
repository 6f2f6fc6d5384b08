"""Forms of webhooks."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Line, Reply, Request

EventType = Literal[
    "job.submitted",
    "job.prioritised",
    "job.started",
    "job.completed",
    "job.failed",
    "job.cancelled",
    "job.retried",
]


class WebhookRequest(Request):
    """Where to tell of which events."""

    url: Annotated[str, Field(min_length=1, max_length=2000)] = Field(
        description="https:// URL that takes a POST of each event. It must be of a public network, "
        "unless the operator allows its host."
    )
    event_types: Annotated[list[EventType], Field(min_length=1, max_length=7)] | None = Field(
        default=None, description="Only these; without it all that jobs have."
    )


class WebhookReply(Reply):
    """A webhook. Its secret is not shown again."""

    id: UUID
    account: str
    url: str
    event_types: list[Line] | None
    created_at: datetime


class NewWebhook(WebhookReply):
    """A webhook that was just made, with its secret."""

    secret: str = Field(description="Signs each body; it is shown this once.")


class WebhookList(Reply):
    """Webhooks, oldest first."""

    items: list[WebhookReply]


class DeliveryReply(Reply):
    """One event for one webhook. It is tried for a day, then given up."""

    id: int
    event_id: int
    event_type: str
    attempts: int
    status: int | None = Field(description="HTTP status of the last answer.")
    error: str | None = Field(description="What was wrong with the last attempt.")
    created_at: datetime
    due_at: datetime = Field(description="When it is tried next, while it has not ended.")
    delivered_at: datetime | None
    gave_up_at: datetime | None


class DeliveryPage(Reply):
    """Deliveries, newest first. `next` is the cursor of the following page, null on the last."""

    items: list[DeliveryReply]
    next: int | None
