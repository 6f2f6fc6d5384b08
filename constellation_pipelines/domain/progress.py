"""How far a job is, how fast it goes on, what went wrong on the way."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from constellation_pipelines.domain.job import Job
from constellation_pipelines.domain.states import JobState

RATE_WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class FaultCount:
    """Faults of one class, with the latest of them."""

    kind: str
    count: int
    latest_at: datetime
    latest: str


@dataclass(frozen=True, slots=True)
class TileErrorCount:
    """Tiles that failed for the same reason."""

    error: str
    tiles: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a job at a moment.

    `recent` are the tiles committed in the `window_s` before it: a minute, or less where the job
    began later.
    """

    at: datetime
    recent: int
    window_s: float
    faults: tuple[FaultCount, ...] = ()
    tile_errors: tuple[TileErrorCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """`tiles_per_s` is None while nothing runs; `eta_at` too where nothing came for a minute."""

    tiles_done: int
    tiles_planned: int
    tiles_per_s: float | None
    eta_at: datetime | None
    faults: tuple[FaultCount, ...]
    tile_errors: tuple[TileErrorCount, ...]


def progress(job: Job, seen: Seen) -> Progress:
    """How far the job is. Tiles are done that completed, failed, or were skipped or reused."""
    done = job.tiles_completed + job.tiles_failed + job.tiles_skipped + job.tiles_reused
    rate = eta_at = None
    if job.state is JobState.RUNNING and seen.window_s > 0:
        rate = seen.recent / seen.window_s
        left = max(job.tiles_planned - done, 0)
        if rate > 0:
            eta_at = seen.at + timedelta(seconds=left / rate)
    return Progress(done, job.tiles_planned, rate, eta_at, seen.faults, seen.tile_errors)
