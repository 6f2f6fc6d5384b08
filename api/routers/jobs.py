"""Routes of jobs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import register_url_convertor

from api import cursor as cursors
from api import submission
from api.deps import DatabasePart, PrincipalPart
from api.places import box_of, degrees
from api.routing import JobPart, Route
from api.schemas.base import NO_CONTROLS, Instant, Line, Reference
from api.schemas.job import (
    Instants,
    JobChange,
    JobDetail,
    JobPage,
    JobProgress,
    JobReply,
    JobRequest,
    KindOfDevice,
    Quote,
    SceneQuote,
    Seconds,
)
from api.schemas.run import RunReply
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.job import Job
from constellation_pipelines.domain.progress import progress
from constellation_pipelines.domain.quote import rounded
from constellation_pipelines.domain.states import JobState
from constellation_pipelines.remote.hosts import is_remote
from constellation_pipelines.store import audit, jobs, quoting, runs, waiting
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.job_list import JobFilter, Sort, list_page
from constellation_pipelines.store.progress import seen

# An id is anything but the name of another route, which would else seem to take what a job takes.
register_url_convertor("job", JobPart())

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], route_class=Route)

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

    state: list[JobState] | None = Field(default=None, max_length=len(JobState))
    submitted_by: Line | None = None
    model: Reference | None = Field(default=None, description="`name@version`.")
    bbox: str | None = Field(
        default=None,
        max_length=200,
        description="west,south,east,north in degrees; west > east crosses 180.",
    )
    near: str | None = Field(default=None, max_length=100, description="lon,lat; with radius_m.")
    radius_m: float | None = Field(default=None, gt=0, le=20_100_000)
    created_after: Instant | None = Field(
        default=None, description="Created at this instant or later; with an offset."
    )
    created_before: Instant | None = Field(
        default=None, description="Created before this instant; with an offset."
    )
    sort: Sort = Field(
        default=Sort.NEWEST,
        description="`priority`: the highest first, of one priority the newest.",
    )
    cursor: str | None = Field(
        default=None, max_length=500, description="`next` of a page of the same sort."
    )
    limit: int = Field(default=50, ge=1, le=500)

    def wanted(self) -> JobFilter:
        """The filter asked for. Raises InvalidInput."""
        if (self.near is None) != (self.radius_m is None):
            raise InvalidInput("near and radius_m go together: give both", field="near")
        near = None if self.near is None else degrees(self.near, "near", 2)
        return JobFilter(
            states=None if self.state is None else tuple(self.state),
            submitted_by=self.submitted_by,
            model=self.model,
            created_after=self.created_after,
            created_before=self.created_before,
            bbox=None if self.bbox is None else box_of(self.bbox),
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
    """Check a request, count its tiles, say what they would take; nothing is submitted."""
    drafted = submission.draft(database, request, principal.account)
    with database.transaction() as connection:
        planned = submission.plan(connection, drafted)
        to_run = [part.tiles_planned - part.tiles_reused for part in planned.scenes]
        found = quoting.quote(
            connection,
            planned.model,
            planned.params,
            to_run,
            priority=request.priority,
            account=principal.account,
            fetched=any(
                count > 0 and is_remote(part.scene.uri)
                for part, count in zip(planned.scenes, to_run, strict=True)
            ),
        )
    parts = [
        SceneQuote(
            scene=part.scene.key,
            tiles_planned=part.tiles_planned,
            tiles_reused=part.tiles_reused,
            gsd_mismatch=part.gsd_mismatch,
        )
        for part in planned.scenes
    ]
    return Quote(
        model=planned.params.model,
        tiles_planned=sum(part.tiles_planned for part in parts),
        tiles_reused=sum(part.tiles_reused for part in parts),
        tiles_to_run=sum(to_run),
        device_s=Seconds.model_validate(rounded(found.device_s)),
        device_s_reason=found.device_s_reason,
        finish_at=Instants.model_validate(found.finish_at),
        finish_reason=found.finish_reason,
        kinds=[
            KindOfDevice(
                name=kind.name,
                devices=kind.devices,
                tiles_seen=kind.tiles_seen,
                device_s=Seconds.model_validate(rounded(kind.device_s)),
            )
            for kind in found.kinds
        ],
        scenes=parts,
    )


@router.get("", summary="List jobs", response_model=JobPage)
def list_jobs(query: Annotated[JobQuery, Query()], database: DatabasePart) -> Response:
    """Jobs, newest first unless told otherwise."""
    wanted, sort = query.wanted(), query.sort
    beyond = None if query.cursor is None else cursors.decode(query.cursor, sort)
    with database.transaction() as connection:
        page = list_page(connection, wanted, sort=sort, beyond=beyond, limit=query.limit)
    end = "null" if page.end is None else f'"{cursors.encode(sort, page.end)}"'
    return Response(f'{{"items":{page.items},"next":{end}}}', media_type="application/json")


@router.get("/{job_id:job}", summary="Show a job")
def show_job(job_id: UUID, database: DatabasePart) -> JobDetail:
    """A job with its runs."""
    with database.transaction() as connection:
        return detail(connection, jobs.find(connection, job_id))


@router.patch("/{job_id:job}", summary="Change a job's priority")
def change_job(job_id: UUID, change: JobChange, database: DatabasePart) -> JobDetail:
    """Give a job that is not over another priority. Its waiting runs take their new place at once;
    what runs goes on."""
    with database.transaction() as connection:
        job = jobs.set_priority(connection, job_id, change.priority)
        audit.record(connection, "job.prioritised", str(job_id), priority=change.priority)
        return detail(connection, job)


@router.post("/{job_id:job}/cancel", status_code=202, summary="Cancel a job")
def cancel_job(job_id: UUID, database: DatabasePart) -> JobDetail:
    """Cancel what has not begun at once; what runs is asked to stop."""
    with database.transaction() as connection:
        job = jobs.cancel(connection, job_id)
        audit.record(connection, "job.cancelled", str(job_id))
        return detail(connection, job)


@router.post("/{job_id:job}/retry", status_code=202, summary="Retry a job")
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
    far = progress(job, seen(connection, job.id))
    return JobDetail(
        **JobReply.model_validate(job).model_dump(),
        progress=JobProgress.model_validate(far),
        runs=replies,
    )
