"""An event: a fact about a job, a run or a tile, in the past tense."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the outbox. Within one job, `id` grows in the order of commits."""

    id: int
    type: str
    at: datetime
    job_id: UUID | None
    run_id: UUID | None
    account: str
    payload: dict[str, Any]
