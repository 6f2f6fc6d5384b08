"""A job: what a person submitted."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.states import JobState, RunState


@dataclass(frozen=True, slots=True)
class JobParams:
    """The request behind a job, kept as it was resolved: ids, not names.

    `aoi` is GeoJSON (Polygon or MultiPolygon, lon/lat) or None for whole scenes. `reuse` skips
    tiles whose result is already valid. The run fails when more than `max_failed_tile_ratio` of
    its tiles failed. Tiles that are clouded beyond `max_cloud_fraction` are skipped; None skips
    none. Runs of a job in mode `serial` go one by one, in order. Each run asks for `gpu_count`
    devices of one host, with `gpu_mem_mb` on each; None is what was measured, else all. `area` is
    the name of the kept area that `aoi` was copied from, if one.
    """

    model: str
    scenes: tuple[str, ...]
    aoi: dict[str, Any] | None = None
    accept_gsd_mismatch: bool = False
    reuse: bool = True
    max_failed_tile_ratio: float = 0.5
    mode: str = "parallel"
    gpu_count: int = 1
    gpu_mem_mb: int | None = None
    max_cloud_fraction: float | None = None
    area: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job with the sums over its runs."""

    id: UUID
    name: str
    state: JobState
    priority: int
    origin: str
    submitted_by: str
    params: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    tiles_planned: int
    tiles_reused: int
    tiles_completed: int
    tiles_failed: int
    tiles_skipped: int
    area_km2: float


@dataclass(frozen=True, slots=True)
class Run:
    """One Dagster run: one scene, one model. Its id is its Dagster run id."""

    id: UUID
    job_id: UUID
    scene_id: UUID | None
    scene_key: str | None
    model: str | None
    state: RunState
    device_uuid: str | None
    simulated: bool | None
    attempt: int
    tiles_planned: int
    tiles_reused: int
    tiles_completed: int
    tiles_failed: int
    tiles_skipped: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    metrics: dict[str, Any] = field(default_factory=dict)
