"""Forms of runs."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.domain.job import Run
from constellation_pipelines.domain.outlook import Outlook, Wait
from constellation_pipelines.domain.states import RunState


class Waiting(Reply):
    """What a run waits for, and the outlook."""

    code: Wait = Field(description="Stable and machine readable.")
    reason: str = Field(description="The same as a sentence.")
    place: int | None = Field(description="1 for the run that is to start first.")
    estimated_start_at: datetime | None = Field(
        description="From the time that tiles took so far; null where that is not known."
    )


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
    tiles_skipped: int = Field(description="Those left out because they are too cloudy.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    metrics: dict[str, Any] = Field(description="Figures and places of outputs, once it has ended.")
    outputs: dict[str, str | None] = Field(
        description="Where each output lies, by its name in the STAC Item; empty before its end."
    )
    waiting: Waiting | None = Field(description="Null for a run that does not wait.")

    @classmethod
    def of(cls, run: Run, outlook: Outlook | None) -> Self:
        """The form of this run."""
        waiting = None if outlook is None else Waiting.model_validate(outlook)
        own = cls.model_fields.keys() - {"waiting", "outputs"}
        fields = {name: getattr(run, name) for name in own}
        return cls(**fields, outputs=run.metrics.get("outputs") or {}, waiting=waiting)
