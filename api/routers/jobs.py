"""Routes of jobs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api import cursor as cursors
from api import submission
from api.deps import DatabasePart, PrincipalPart
from api.routing import Route
from api.schemas.base import NO_CONTROLS, Line, Reference
from api.schemas.job import JobChange, JobDetail, JobPage, JobReply, JobRequest, Quote, SceneQuote
from api.schemas.run import RunReply
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.job import Job
from constellation_pipelines.domain.states import JobState
from constellation_pipelines.store import audit, jobs, runs, waiting
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.jobs import JobFilter

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], route_class=Route)

JOBS = TypeAdapter(list[JobReply])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=NO_CONTROLS,
        description="The same key with the same request gives the same job.",
    ),
]


class JobQuery(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(extra="forbid")

    state: list[JobState] | None = None
    submitted_by: Line | None = None
    model: Reference | None = Field(default=None, description="`name@version`.")
    bbox: str | None = Field(
        default=None,
        max_length=200,
        description="west,south,east,north in degrees; west > east crosses 180.",
    )
    near: str | None = Field(default=None, max_length=100, description="lon,lat; with radius_m.")
    radius_m: float | None = Field(default=None, gt=0, le=20_100_000)
    cursor: str | None = Field(default=None, max_length=500, description="`next` of a page.")
    limit: int = Field(default=50, ge=1, le=500)

    def wanted(self) -> JobFilter:
        """The filter asked for. Raises InvalidInput."""
        if (self.near is None) != (self.radius_m is None):
            raise InvalidInput("near and radius_m go together: give both", field="near")
        box = None if self.bbox is None else degrees(self.bbox, "bbox", 4)
        if box is not None and box[1] > box[3]:
            raise InvalidInput("south is above north: write west,south,east,north", field="bbox")
        near = None if self.near is None else degrees(self.near, "near", 2)
        return JobFilter(
            states=None if self.state is None else tuple(self.state),
            submitted_by=self.submitted_by,
            model=self.model,
            bbox=None if box is None else (box[0], box[1], box[2], box[3]),
            near=None if near is None else (near[0], near[1]),
            radius_m=self.radius_m,
        )


@router.post("", status_code=202, summary="Submit a job")
def submit_job(
    request: JobRequest,
    response: Response,
    database: DatabasePart,
    principal: PrincipalPart,
    idempotency_key: IdempotencyKey = None,
) -> JobReply:
    """Check the request, plan its tiles and take the job. The reply comes before any tile runs."""
    job, _ = submission.submit(
        database, request, account=principal.account, idempotency_key=idempotency_key
    )
    response.headers["Location"] = f"{router.prefix}/{job.id}"
    return JobReply.model_validate(job)


@router.post("/quote", summary="Quote a job")
def quote_job(request: JobRequest, database: DatabasePart, principal: PrincipalPart) -> Quote:
    """Check a request and count its tiles; nothing is submitted."""
    planned = submission.plan(database, request, principal.account)
    parts = [
        SceneQuote(
            scene=part.scene.key,
            tiles_planned=part.tiles_planned,
            tiles_reused=part.tiles_reused,
            gsd_mismatch=part.gsd_mismatch,
        )
        for part in planned.scenes
    ]
    total = sum(part.tiles_planned for part in parts)
    reused = sum(part.tiles_reused for part in parts)
    return Quote(
        model=planned.params.model,
        tiles_planned=total,
        tiles_reused=reused,
        tiles_to_run=total - reused,
        scenes=parts,
    )


@router.get("", summary="List jobs")
def list_jobs(query: Annotated[JobQuery, Query()], database: DatabasePart) -> JobPage:
    """Jobs, newest first."""
    wanted = query.wanted()
    before = None if query.cursor is None else cursors.decode(query.cursor)
    with database.transaction() as connection:
        text = jobs.page_text(connection, wanted, before=before, limit=query.limit + 1)
    found = JOBS.validate_json(text)
    page = found[: query.limit]
    more = len(found) > query.limit
    return JobPage(
        items=page,
        next=cursors.encode(page[-1].created_at, page[-1].id) if more else None,
    )


@router.get("/{job_id}", summary="Show a job")
def show_job(job_id: UUID, database: DatabasePart) -> JobDetail:
    """A job with its runs."""
    with database.transaction() as connection:
        return detail(connection, jobs.find(connection, job_id))


@router.patch("/{job_id}", summary="Change a job's priority")
def change_job(job_id: UUID, change: JobChange, database: DatabasePart) -> JobDetail:
    """Give a job that is not over another priority. Its waiting runs take their new place at once;
    what runs goes on."""
    with database.transaction() as connection:
        job = jobs.set_priority(connection, job_id, change.priority)
        audit.record(connection, "job.prioritised", str(job_id), priority=change.priority)
        return detail(connection, job)


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job")
def cancel_job(job_id: UUID, database: DatabasePart) -> JobDetail:
    """Cancel what has not begun at once; what runs is asked to stop."""
    with database.transaction() as connection:
        job = jobs.cancel(connection, job_id)
        audit.record(connection, "job.cancelled", str(job_id))
        return detail(connection, job)


@router.post("/{job_id}/retry", status_code=202, summary="Retry a job")
def retry_job(job_id: UUID, database: DatabasePart) -> JobDetail:
    """Run the scenes of a failed or cancelled job again that did not complete."""
    job = submission.retry(database, job_id)
    with database.transaction() as connection:
        return detail(connection, job)


def detail(connection: Connection, job: Job) -> JobDetail:
    """The form of a job with its runs."""
    of_job = runs.of_job(connection, job.id)
    outlooks = {} if job.state.is_final else waiting.of_runs(connection, [r.id for r in of_job])
    replies = [RunReply.of(run, outlooks.get(run.id)) for run in of_job]
    return JobDetail(**JobReply.model_validate(job).model_dump(), runs=replies)


def degrees(text: str, name: str, count: int) -> list[float]:
    """Numbers of a list such as `lon,lat`. Raises InvalidInput unless they are degrees."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    limits = [180.0, 90.0] * (count // 2)
    within = all(abs(number) <= limit for number, limit in zip(numbers, limits, strict=False))
    if len(numbers) != count or not within:
        form = {2: "lon,lat", 4: "west,south,east,north"}[count]
        raise InvalidInput(f"{name} must be {form} in degrees", field=name)
    return numbers
