"""Routes of health."""

from fastapi import APIRouter, Response

from api.deps import HubPart, PoolPart
from api.routing import Route
from api.schemas.health import Health, Part, Readiness
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store import health
from constellation_pipelines.store.database import Database

router = APIRouter(tags=["health"], route_class=Route)


@router.get("/healthz", summary="Is the process alive")
def healthz() -> Health:
    """Answers as long as the process does."""
    return Health()


@router.get("/readyz", summary="Would a job run", responses={503: {"model": Readiness}})
def readyz(response: Response, database: PoolPart, hub: HubPart) -> Readiness:
    """Whether everything that a job needs is there, part by part."""
    nats = Part(ok=hub.connected, detail="connected" if hub.connected else "not reached")
    parts = stored_parts(database) | {"nats": nats}
    ready = all(part.ok for part in parts.values())
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return Readiness(ready=ready, parts=parts)


def stored_parts(database: Database) -> dict[str, Part]:
    """Postgres, and what it knows of workers."""
    try:
        with database.transaction() as connection:
            found = health.capacity(connection)
    except ServiceUnavailable as error:
        unknown = Part(ok=False, detail="unknown while the database does not answer")
        return {"postgres": Part(ok=False, detail=error.message), "worker": unknown}
    detail = f"{found.workers} live, {found.devices} devices, {found.ready} engines ready"
    worker = Part(ok=found.devices > 0, detail=detail)
    return {"postgres": Part(ok=True, detail="connected"), "worker": worker}
