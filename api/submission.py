"""The way of a submission: resolve names, check the request, plan tiles, write the job.

Everything that can be refused is refused here, before any device is touched.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

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
from constellation_pipelines.geo.planned import planned_tiles
from constellation_pipelines.store import audit, jobs, models, quotas, runs, scenes, tiles
from constellation_pipelines.store.database import Connection, Database
from constellation_pipelines.store.jobs import NewJob
from constellation_pipelines.store.runs import NewRun


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """What a job will do in one scene. `km2` is about what the planned tiles cover."""

    scene: Scene
    gsd_mismatch: bool
    tiles_planned: int
    tiles_reused: int
    km2: float


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a job will do."""

    model: Model
    params: JobParams
    scenes: tuple[ScenePlan, ...]

    @property
    def km2(self) -> float:
        """About what the planned tiles cover."""
        return sum(part.km2 for part in self.scenes)

    def new_runs(self, attempts: dict[UUID, int] | None = None) -> list[NewRun]:
        """A run per scene; `attempts` numbers them by scene id."""
        return [
            NewRun(
                part.scene.id,
                self.model.id,
                part.tiles_planned,
                part.tiles_reused,
                (attempts or {}).get(part.scene.id, 1),
            )
            for part in self.scenes
        ]


def submit(
    database: Database, request: JobRequest, *, account: str, idempotency_key: str | None
) -> tuple[Job, bool]:
    """Write a job; return it and whether it is new.

    Raises what `plan` raises, QuotaExceeded and Conflict.
    """
    digest = request_digest(request)
    named = NewJob("", JobParams("", ()), request.priority, account, idempotency_key, digest)
    if idempotency_key is not None:
        with database.transaction() as connection:
            if (known := jobs.find_repeated(connection, named)) is not None:
                return jobs.find(connection, known), False
    planned = plan(database, request, account)
    name = request.name or default_name(planned)
    job = NewJob(name, planned.params, request.priority, account, idempotency_key, digest)
    with database.transaction() as connection:
        quotas.check(connection, account, planned.km2)
        job_id, is_new = jobs.submit(connection, job, planned.new_runs())
        if is_new:
            audit.record(connection, "job.submitted", str(job_id))
        return jobs.find(connection, job_id), is_new


def plan(database: Database, request: JobRequest, account: str) -> JobPlan:
    """Check a request of an account and count its tiles.

    Raises InvalidInput (unknown scene or model, unusable area), SceneUnfit and AoiMissesScene.
    """
    aoi = None if request.aoi is None else validate_aoi(request.aoi)
    with database.transaction() as connection:
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
    )
    return plan_scenes(database, model, found, params, account)


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
        again = [scenes.find(connection, str(scene_id)) for scene_id in attempts]
    if not again:
        raise Conflict(f"job {job_id} has no scene left that did not complete")
    planned = plan_scenes(database, model, again, params, job.submitted_by)
    with database.transaction() as connection:
        quotas.check(connection, job.submitted_by, planned.km2)
        audit.record(connection, "job.retried", str(job_id))
        return jobs.retry(connection, job_id, planned.new_runs(attempts))


def plan_scenes(
    database: Database, model: Model, found: Sequence[Scene], params: JobParams, account: str
) -> JobPlan:
    """Check that the model takes each scene, and count tiles."""
    fits = [fit_at(scene, model, params, at) for at, scene in enumerate(found)]
    touched = [
        tiles_of(scene, one, model, params, account) for scene, one in zip(found, fits, strict=True)
    ]
    missed = [scene.key for scene, some in zip(found, touched, strict=True) if not some]
    if missed:
        raise AoiMissesScene(
            f"the area does not touch {', '.join(missed)}: leave these scenes out or draw the area "
            "over them",
            field="aoi",
        )
    with database.transaction() as connection:
        reused = [
            len(tiles.valid(connection, list(some.values()))) if params.reuse else 0
            for some in touched
        ]
    parts = [
        ScenePlan(scene, one.gsd_mismatch, len(some), valid, area_km2(scene, one, some))
        for scene, one, some, valid in zip(found, fits, touched, reused, strict=True)
    ]
    return JobPlan(model, params, tuple(parts))


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


def tiles_of(
    scene: Scene, fitted: Fit, model: Model, params: JobParams, account: str
) -> dict[Window, str]:
    """The scene's tiles that touch the area, with the digests of their results."""
    return planned_tiles(
        scene,
        model,
        fitted,
        aoi=params.aoi,
        max_cloud_fraction=params.max_cloud_fraction,
        account=account,
    )


def resolve_model(connection: Connection, reference: str) -> Model:
    """The model of this name. Raises InvalidInput."""
    try:
        return models.find(connection, reference)
    except NotFound as error:
        raise InvalidInput(error.message, field="model") from error


def resolve_scenes(connection: Connection, references: Sequence[str]) -> list[Scene]:
    """The scenes of these keys or ids, each once, in order. Raises InvalidInput."""
    found: dict[UUID, Scene] = {}
    for at, reference in enumerate(references):
        try:
            scene = scenes.find(connection, reference)
        except NotFound as error:
            raise InvalidInput(error.message, field=f"scenes[{at}]") from error
        found.setdefault(scene.id, scene)
    return list(found.values())


def default_name(planned: JobPlan) -> str:
    """Model and first scene, for a job nobody named."""
    first, *others = planned.params.scenes
    more = f" and {len(others)} more" if others else ""
    return f"{planned.params.model} on {first}{more}"


def request_digest(request: JobRequest) -> str:
    """Equal for requests that ask for the same, however their JSON was written."""
    text = json.dumps(request.model_dump(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
