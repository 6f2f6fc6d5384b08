"""The states that jobs, runs and tiles pass through."""

from enum import StrEnum


class JobState(StrEnum):
    """State of a job, derived from its runs."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """True once nothing can change it any more, save a retry."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class RunState(StrEnum):
    """State of a run, projected from Dagster's run status by a database trigger."""

    PENDING = "PENDING"  # not yet handed to Dagster
    QUEUED = "QUEUED"  # Dagster knows it; it waits for a device
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TileState(StrEnum):
    """Outcome of one tile."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"  # too cloudy to be worth it; `error` is empty, `cloud_fraction` says so
