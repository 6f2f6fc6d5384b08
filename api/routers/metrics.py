"""The route of metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.deps import DatabasePart, RequestsPart, SamplesPart
from api.gate import METRICS
from api.live.samples import Samples
from api.metrics import Held, exposed
from api.routing import Route
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store import devices, totals
from constellation_pipelines.store.database import Database

router = APIRouter(tags=["health"], route_class=Route)


@router.get(
    METRICS,
    summary="Show metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def show_metrics(
    request: Request, database: DatabasePart, requests: RequestsPart, samples: SamplesPart
) -> Response:
    """Prometheus' text format: jobs, runs, queue, devices, requests. Numbers are over all accounts,
    so it takes the scope admin. A key that asked within five minutes is let in without a database
    too, for what needs none."""
    held = Held(None, (), samples) if request.state.is_blind else held_by(database, samples)
    return Response(exposed(requests, held), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def held_by(database: Database, samples: Samples) -> Held:
    """What the database says, or that it does not."""
    try:
        with database.transaction() as connection:
            return Held(totals.totals(connection), devices.list_all(connection), samples)
    except ServiceUnavailable:
        return Held(None, (), samples)  # what this process knows by itself is still worth telling
