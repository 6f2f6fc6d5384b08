"""Routes of runs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api.deps import DatabasePart
from api.routing import Route
from api.schemas.run import RunReply
from api.schemas.tile import TileCollection
from constellation_pipelines.store import footprints, runs, waiting

router = APIRouter(prefix="/api/v1/runs", tags=["runs"], route_class=Route)


class GeoJsonResponse(JSONResponse):
    """GeoJSON that is text already."""

    media_type = "application/geo+json"

    def render(self, content: str) -> bytes:
        """The text as it is."""
        return content.encode()


@router.get("/{run_id}", summary="Show a run")
def show_run(run_id: UUID, database: DatabasePart) -> RunReply:
    """One scene, one model, one Dagster run."""
    with database.transaction() as connection:
        run = runs.find(connection, run_id)
        return RunReply.of(run, waiting.of_runs(connection, [run_id]).get(run_id))


@router.get(
    "/{run_id}/tiles",
    summary="List the tiles of a run",
    response_class=GeoJsonResponse,
    responses={200: {"model": TileCollection}},
)
def list_tiles(
    run_id: UUID,
    database: DatabasePart,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    after: Annotated[
        str | None,
        Query(
            max_length=19,
            pattern=r"^[0-9]{1,9},[0-9]{1,9}$",
            description="`next` of the page before.",
        ),
    ] = None,
) -> GeoJsonResponse:
    """Footprints of the tiles that a run wrote, with what was found in each."""
    row, column = (-1, -1) if after is None else map(int, after.split(","))
    with database.transaction() as connection:
        runs.find(connection, run_id)
        text = footprints.collection(connection, run_id, after=(row, column), limit=limit)
    return GeoJsonResponse(text)
