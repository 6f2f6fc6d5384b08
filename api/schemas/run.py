"""Forms of runs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.domain.states import RunState


class RunReply(Reply):
    """One Dagster run: one scene, one model. Its id is its Dagster run id."""

    id: UUID
    job_id: UUID
    scene_id: UUID | None
    scene_key: str | None
    model: str | None
    state: RunState
    device_uuid: str | None
    simulated: bool | None = Field(description="True when the device computes on the processor.")
    attempt: int
    tiles_planned: int
    tiles_reused: int
    tiles_completed: int
    tiles_failed: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    metrics: dict[str, Any] = Field(description="Figures and places of outputs, once it has ended.")
