"""The route of metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.deps import DatabasePart, RequestsPart, SamplesPart
from api.gate import METRICS
from api.metrics import Held, exposed
from api.routing import Route
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store import devices, totals

router = APIRouter(tags=["health"], route_class=Route)


@router.get(
    METRICS,
    summary="Show metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def show_metrics(database: DatabasePart, requests: RequestsPart, samples: SamplesPart) -> Response:
    """Prometheus' text format: jobs, runs, queue, devices, requests. Numbers are over all accounts,
    so it takes the scope admin."""
    try:
        with database.transaction() as connection:
            held = Held(totals.totals(connection), devices.list_all(connection), samples)
    except ServiceUnavailable:
        held = Held(None, (), samples)  # what this process knows by itself is still worth telling
    return Response(exposed(requests, held), media_type=CONTENT_TYPE_PLAIN_0_0_4)
