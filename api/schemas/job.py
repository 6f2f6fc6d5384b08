"""Forms of jobs."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.config import JsonDict

from api.schemas.base import Line, Number, Reference, Reply, Request, Truth, Whole
from api.schemas.run import RunReply
from constellation_pipelines.domain.states import JobState
from constellation_pipelines.geo.aoi import MAX_VERTICES

EXAMPLE: JsonDict = {
    "model": "eurosat-landcover@1",
    "scenes": ["s2_cape_lookout"],
    "aoi": {
        "type": "Polygon",
        "coordinates": [
            [[-76.6, 34.5], [-76.4, 34.5], [-76.4, 34.7], [-76.6, 34.7], [-76.6, 34.5]]
        ],
    },
    "priority": 0,
}


MAX_DEPTH = 32  # a FeatureCollection of MultiPolygons has 9


def shallow(document: dict[str, Any]) -> dict[str, Any]:
    """The document, unless it is nested so deep that code walking it would run out of stack."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
    return document


class JobRequest(Request):
    """A model, some scenes, an area."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": EXAMPLE})

    model: Reference = Field(description="`name@version`, or `name` for the newest version.")
    scenes: Annotated[list[Reference], Field(min_length=1, max_length=1000)] = Field(
        description="Keys or ids of registered scenes. Each becomes one run."
    )
    aoi: Annotated[dict[str, Any], AfterValidator(shallow)] | None = Field(
        default=None,
        description="GeoJSON of polygons, lon/lat: a geometry, Feature or FeatureCollection; "
        f"{MAX_VERTICES} vertices at most. Only tiles that touch it run.",
    )
    area: Reference | None = Field(
        default=None,
        description="Name or id of one of the account's areas, instead of `aoi`. The job takes a "
        "copy of its shape.",
    )
    name: Line | None = Field(default=None, description="A name for people.")
    priority: Whole = Field(default=0, ge=-100, le=100, description="Higher runs first.")
    accept_gsd_mismatch: Truth = Field(
        default=False, description="Run scenes outside the model's range of pixel sizes."
    )
    reuse: Truth = Field(default=True, description="Skip tiles that already have a valid result.")
    max_failed_tile_ratio: Number = Field(
        default=0.5, ge=0, le=1, description="A run fails when more of its tiles than this failed."
    )
    max_cloud_fraction: Number | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Skip tiles of which more than this is clouded, by the scene's quality mask. "
        "Scenes without one are refused.",
    )
    mode: Literal["parallel", "serial"] = Field(
        default="parallel", description="`serial`: the job's runs go one by one, in order."
    )
    gpu_count: Whole = Field(
        default=1, ge=1, le=64, description="GPUs of one host that each run asks for."
    )
    gpu_mem_mb: Whole | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Memory that each run needs on each GPU. What was measured for the model on "
        "that kind of GPU goes before it; without both a run has its GPUs to itself.",
    )


class JobChange(Request):
    """What can change about a job that is not over."""

    priority: Whole = Field(ge=-100, le=100, description="Higher runs first; counts at once.")


class JobReply(Reply):
    """A job with the sums over its runs."""

    id: UUID
    name: str
    state: JobState
    priority: int
    origin: str = Field(description="`api`, or `dagster` for a run launched in Dagster's UI.")
    submitted_by: str
    params: dict[str, Any] = Field(description="The request as it was resolved.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    tiles_planned: int = Field(description="Tiles that touch the area.")
    tiles_reused: int = Field(description="Those that already had a valid result.")
    tiles_completed: int
    tiles_failed: int
    tiles_skipped: int = Field(description="Those left out because they are too cloudy.")
    area_km2: float = Field(description="Area of the tiles that the job's runs computed.")


class FaultsOfKind(Reply):
    """Faults of one class, over all of a job's runs."""

    kind: str = Field(description="For example `transient`, `out_of_memory` or `device`.")
    count: int
    latest_at: datetime
    latest: str = Field(description="What the latest one said.")


class TileErrors(Reply):
    """Tiles that failed for the same reason."""

    error: str
    tiles: int


class JobProgress(Reply):
    """How far a job is."""

    tiles_done: int = Field(description="Completed, failed, skipped or reused.")
    tiles_planned: int
    tiles_per_s: float | None = Field(
        description="Tiles committed in the last minute, per second; null while nothing runs."
    )
    eta_at: datetime | None = Field(
        description="When it is over at this rate; null where nothing came for a minute."
    )
    faults: list[FaultsOfKind]
    tile_errors: list[TileErrors] = Field(description="The most frequent first, 20 at most.")


class JobDetail(JobReply):
    """A job with its runs, earlier attempts too, oldest first."""

    progress: JobProgress
    runs: list[RunReply]


class JobPage(Reply):
    """Jobs, newest first. `next` is the cursor of the following page, null on the last."""

    items: list[JobReply]
    next: str | None


class SceneQuote(Reply):
    """What one scene of a job would cost."""

    scene: str
    tiles_planned: int
    tiles_reused: int
    gsd_mismatch: bool = Field(description="Outside the model's range of pixel sizes, accepted.")


class Seconds(Reply):
    """A range; null where a part is not known."""

    low: float | None
    expected: float | None
    high: float | None


class Instants(Reply):
    """A range; null where a part is not known."""

    low: datetime | None
    expected: datetime | None
    high: datetime | None


class KindOfDevice(Reply):
    """A kind of device, and what the job would take on it."""

    name: str
    devices: int = Field(description="How many of it are in service now.")
    tiles_seen: int = Field(description="The latest tiles of this model on it that were looked at.")
    device_s: Seconds


class Quote(Reply):
    """What a job would cost, were it submitted now. What is not known is null, with a reason."""

    model: str
    tiles_planned: int
    tiles_reused: int
    tiles_to_run: int
    device_s: Seconds = Field(
        description="Seconds of devices, from past tiles of this model. The range is that of its "
        "tiles, their first to last decile, over the kinds of device in service."
    )
    device_s_reason: str | None = Field(description="Why a part of it is not known.")
    finish_at: Instants = Field(
        description="When it would be over, behind what waits and runs now. What is submitted "
        "later with a higher priority is not in it."
    )
    finish_reason: str | None = Field(description="Why a part of it is not known.")
    kinds: list[KindOfDevice]
    scenes: list[SceneQuote]
