"""The way of a submission: resolve names, check the request, plan tiles, write the job.

Everything that can be refused is refused here, before any device is touched.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shapely import MultiPolygon

from api.schemas.job import JobRequest
from constellation_pipelines.domain.errors import (
    AoiMissesScene,
    Conflict,
    InvalidInput,
    NotFound,
    SceneUnfit,
)
from constellation_pipelines.domain.fit import Fit, fit
from constellation_pipelines.domain.job import Job, JobParams
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.domain.states import RunState
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.aoi import validate_aoi
from constellation_pipelines.geo.ground import ground_of
from constellation_pipelines.geo.planned import planned_tiles
from constellation_pipelines.geo.tiling import area_of
from constellation_pipelines.store import areas, audit, jobs, models, quotas, runs, scenes, tiles
from constellation_pipelines.store.database import Connection, Database
from constellation_pipelines.store.jobs import NewJob
from constellation_pipelines.store.runs import NewRun


@dataclass(frozen=True, slots=True)
class SceneDraft:
    """What a job asks for in one scene: its tiles with the digests of their results. `km2` is about
    what they cover; `ground` is where they lie, None where that is all of the scene.
    """

    scene: Scene
    gsd_mismatch: bool
    tiles: dict[Window, str]
    km2: float
    ground: MultiPolygon | None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a job asks for, checked. What is there already has not been looked up yet."""

    model: Model
    params: JobParams
    scenes: tuple[SceneDraft, ...]

    @property
    def km2(self) -> float:
        """About what the planned tiles cover."""
        return sum(part.km2 for part in self.scenes)


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """What a job will do in one scene."""

    scene: Scene
    gsd_mismatch: bool
    tiles_planned: int
    tiles_reused: int
    ground: MultiPolygon | None


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a job will do."""

    model: Model
    params: JobParams
    scenes: tuple[ScenePlan, ...]

    def new_runs(self, attempts: dict[UUID, int] | None = None) -> list[NewRun]:
        """A run per scene; `attempts` numbers them by scene id."""
        return [
            NewRun(
                part.scene.id,
                self.model.id,
                part.tiles_planned,
                part.tiles_reused,
                (attempts or {}).get(part.scene.id, 1),
                part.ground,
            )
            for part in self.scenes
        ]


def submit(
    database: Database, request: JobRequest, *, account: str, idempotency_key: str | None
) -> tuple[Job, bool]:
    """Write a job; return it and whether it is new.

    Raises what `draft` raises, QuotaExceeded and Conflict.
    """
    digest = request_digest(request)
    named = NewJob("", JobParams("", ()), request.priority, account, idempotency_key, digest)
    if idempotency_key is not None:
        with database.transaction() as connection:
            if (known := jobs.find_repeated(connection, named)) is not None:
                return jobs.find(connection, known), False
    drafted = draft(database, request, account)
    name = request.name or default_name(drafted.params)
    job = NewJob(name, drafted.params, request.priority, account, idempotency_key, digest)
    with database.transaction() as connection:
        quotas.check(connection, account, drafted.km2, field=area_field(drafted.params))
        made, is_new = jobs.submit(connection, job, plan(connection, drafted).new_runs())
        if is_new:
            audit.record(connection, "job.submitted", str(made.id))
        return made, is_new


def draft(database: Database, request: JobRequest, account: str) -> Draft:
    """Check a request of an account.

    Raises InvalidInput (unknown scene, model or area, unusable area), SceneUnfit and
    AoiMissesScene.
    """
    if request.aoi is not None and request.area is not None:
        raise InvalidInput("give either aoi or area, not both", field="area")
    aoi = None if request.aoi is None else validate_aoi(request.aoi)
    area: str | None = None
    with database.transaction() as connection:
        if request.area is not None:
            area, aoi = resolve_area(connection, account, request.area)
        model = resolve_model(connection, request.model)
        found = resolve_scenes(connection, request.scenes)
    params = JobParams(
        model=model.card.reference,
        scenes=tuple(scene.key for scene in found),
        aoi=aoi,
        accept_gsd_mismatch=request.accept_gsd_mismatch,
        reuse=request.reuse,
        max_failed_tile_ratio=request.max_failed_tile_ratio,
        mode=request.mode,
        gpu_count=request.gpu_count,
        gpu_mem_mb=request.gpu_mem_mb,
        max_cloud_fraction=request.max_cloud_fraction,
        area=area,
    )
    return draft_of(model, found, params, account)


def retry(database: Database, job_id: UUID) -> Job:
    """Give the scenes of a failed or cancelled job that did not complete new runs."""
    with database.transaction() as connection:
        job = jobs.find(connection, job_id)
        jobs.refuse_retry(job_id, job.state, job.origin)
        newest = runs.newest_of_job(connection, job_id)
        unfinished = [run for run in newest if run.state is not RunState.COMPLETED]
        attempts = {run.scene_id: run.attempt + 1 for run in unfinished if run.scene_id is not None}
        params = JobParams(**job.params)
        model = models.find(connection, params.model)
        again = resolve_scenes(connection, [str(scene_id) for scene_id in attempts])
    if not again:
        raise Conflict(f"job {job_id} has no scene left that did not complete")
    drafted = draft_of(model, again, params, job.submitted_by)
    with database.transaction() as connection:
        quotas.check(connection, job.submitted_by, drafted.km2)
        audit.record(connection, "job.retried", str(job_id))
        return jobs.retry(connection, job_id, plan(connection, drafted).new_runs(attempts))


def draft_of(model: Model, found: Sequence[Scene], params: JobParams, account: str) -> Draft:
    """Check that the model takes each scene, and find the tiles."""
    fits = [fit_at(scene, model, params, at) for at, scene in enumerate(found)]
    area = area_of(params.aoi)
    touched = [
        planned_tiles(
            scene,
            model,
            fitted,
            area=area,
            max_cloud_fraction=params.max_cloud_fraction,
            account=account,
        )
        for scene, fitted in zip(found, fits, strict=True)
    ]
    missed = [scene.key for scene, some in zip(found, touched, strict=True) if not some]
    if missed:
        raise AoiMissesScene(
            f"the area does not touch {', '.join(missed)}: leave these scenes out or draw the area "
            "over them",
            field=area_field(params),
        )
    parts = [
        SceneDraft(
            scene,
            one.gsd_mismatch,
            some,
            area_km2(scene, one, some),
            None if params.aoi is None else ground_of(one.grid, list(some)),
        )
        for scene, one, some in zip(found, fits, touched, strict=True)
    ]
    return Draft(model, params, tuple(parts))


def area_field(params: JobParams) -> str:
    """The member of the request that said where."""
    return "aoi" if params.area is None else "area"


def plan(connection: Connection, drafted: Draft) -> JobPlan:
    """Count the tiles of a draft, and those of which there is a valid result already."""
    digests = [digest for part in drafted.scenes for digest in part.tiles.values()]
    known = tiles.valid(connection, digests) if drafted.params.reuse else {}
    parts = [
        ScenePlan(
            part.scene,
            part.gsd_mismatch,
            tiles_planned=len(part.tiles),
            tiles_reused=sum(digest in known for digest in part.tiles.values()),
            ground=part.ground,
        )
        for part in drafted.scenes
    ]
    return JobPlan(drafted.model, drafted.params, tuple(parts))


def area_km2(scene: Scene, fitted: Fit, windows: Iterable[Window]) -> float:
    """About what these windows of a scene cover: their share of its pixels, of its area."""
    pixels = sum(window.height_px * window.width_px for window in windows)
    return scene.area_km2 * pixels / (fitted.grid.width_px * fitted.grid.height_px)


def fit_at(scene: Scene, model: Model, params: JobParams, at: int) -> Fit:
    """How the model takes the scene. Raises SceneUnfit, pointing at it."""
    try:
        return fit(
            scene,
            model.card,
            accept_gsd_mismatch=params.accept_gsd_mismatch,
            max_cloud_fraction=params.max_cloud_fraction,
        )
    except SceneUnfit as error:
        field = f"scenes[{at}]" if error.field in (None, "scenes") else error.field
        raise SceneUnfit(error.message, field=field) from error


def resolve_model(connection: Connection, reference: str) -> Model:
    """The model of this name. Raises InvalidInput."""
    try:
        return models.find(connection, reference)
    except NotFound as error:
        raise InvalidInput(error.message, field="model") from error


def resolve_area(
    connection: Connection, account: str, reference: str
) -> tuple[str, dict[str, Any]]:
    """The name of an area of the account, and a copy of its shape. Raises InvalidInput."""
    try:
        found, shape = areas.find_own(connection, account, reference)
    except NotFound as error:
        raise InvalidInput(error.message, field="area") from error
    return found.name, shape


def resolve_scenes(connection: Connection, references: Sequence[str]) -> list[Scene]:
    """The scenes of these keys or ids, each once, in order. Raises InvalidInput."""
    found: dict[UUID, Scene] = {}
    for at, scene in enumerate(scenes.find_some(connection, references)):
        try:
            scene = scene or scenes.find(connection, references[at])  # which says what is wrong
        except NotFound as error:
            raise InvalidInput(error.message, field=f"scenes[{at}]") from error
        found.setdefault(scene.id, scene)
    return list(found.values())


def default_name(params: JobParams) -> str:
    """Model and first scene, for a job nobody named."""
    first, *others = params.scenes
    more = f" and {len(others)} more" if others else ""
    return f"{params.model} on {first}{more}"


def request_digest(request: JobRequest) -> str:
    """Equal for requests that ask for the same, however their JSON was written.

    Without an area it is what it was before there were any: keys of those days still hold.
    """
    unnamed = {"area"} if request.area is None else None
    text = json.dumps(request.model_dump(exclude=unnamed), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
