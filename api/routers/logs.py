"""A job's log lines as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.deps import DatabasePart, HubPart, LinesPart, TenancyPart, until_signed_out
from api.live.hub import Hub
from api.live.interest import Interest, Topic
from api.live.lines import Lines
from api.live.rooms import Listener
from api.live.sse import Writer
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.states import JobState
from constellation_pipelines.store import jobs
from constellation_pipelines.store.database import Database

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

HEARTBEAT_S = 15.0
LAST_LINES_S = 1.0  # lines of a run come some tenths of a second after it has ended
MOST = 2**63 - 1

# One event of the stream, by its fields.
EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": ["line", "end"]},
        "id": {"type": "string", "description": "What to resume from, as Last-Event-ID."},
        "data": {"type": "string", "description": "JSON."},
    },
    "required": ["event", "data"],
}

LastEventId = Annotated[
    int | None,
    Header(ge=0, le=MOST, description="The id of the last line that came: goes on behind it."),
]


@router.get(
    "/{job_id}/logs",
    summary="Follow a job's log",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events: `line` with an envelope for each line, its id to "
            "resume from; `end` once the job is over and all its lines are told.",
            "content": {"text/event-stream": {"schema": EVENT}},
        }
    },
)
async def follow_logs(
    job_id: UUID,
    database: DatabasePart,
    hub: HubPart,
    lines: LinesPart,
    tenancy: TenancyPart,
    request: Request,
    follow: Annotated[bool, Query(description="False: end with the last line there is.")] = True,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Every line that the job's runs logged and printed, from the first one to the live tail."""
    await run_in_threadpool(state_of, database, job_id)  # what there is not is refused at once
    listener = Listener(tenancy)
    telling = Telling(database, hub, lines, job_id, listener, follow)
    await lines.ready()
    return StreamingResponse(
        until_out(telling.tell(last_event_id or 0), listener, request),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def until_out(
    told: AsyncIterator[str], listener: Listener, request: Request
) -> AsyncIterator[str]:
    """The stream's text, until the reader's key or session ends."""
    out = asyncio.create_task(until_signed_out(request))
    out.add_done_callback(lambda _: listener.close(broken=True))
    try:
        async for text in told:
            yield text
    finally:
        out.cancel()


class Telling:
    """One reader of a job's log."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        lines: Lines,
        job_id: UUID,
        listener: Listener,
        follow: bool,
    ) -> None:
        self._database = database
        self._hub = hub
        self._lines = lines
        self._job_id = job_id
        self._listener = listener
        self._follow = follow

    async def tell(self, after: int) -> AsyncIterator[str]:
        """The stream's text."""
        replay = asyncio.create_task(self._replay(after))
        writer = Writer()
        try:
            while (frame := await self._next(writer)) is not None:
                yield writer.write(frame) if frame else writer.comment()
            if not self._listener.broken:  # such a one resumes with its last id
                yield writer.end()
        finally:
            replay.cancel()
            self._hub.remove(self._listener)

    async def _replay(self, after: int) -> None:
        interest = Interest(frozenset((Topic.LOGS, Topic.JOBS)), self._job_id)
        listener = self._listener
        try:
            await self._lines.replay(
                self._job_id, after, listener, lambda: self._hub.join(listener, interest)
            )
            state = await run_in_threadpool(state_of, self._database, self._job_id)
        except ServiceUnavailable:
            listener.close(broken=True)
            return
        if state.is_final or not self._follow:
            await asyncio.sleep(LAST_LINES_S if self._follow else 0)
            listener.close()

    async def _next(self, writer: Writer) -> str | None:
        """The next frame, empty after a silence, None when there will be no more."""
        wait_s = LAST_LINES_S if writer.job_over else HEARTBEAT_S
        try:
            frame = await asyncio.wait_for(self._listener.next(), wait_s)
            return None if frame is None else frame.text
        except TimeoutError:
            return None if writer.job_over else ""


def state_of(database: Database, job_id: UUID) -> JobState:
    """The job's state. Raises NotFound."""
    with database.transaction() as connection:
        return jobs.find(connection, job_id).state
