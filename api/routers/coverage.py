"""Routes of the coverage map."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Response

from api.deps import DatabasePart, TenancyPart
from api.entity_tags import holds, tag_of
from api.routing import Route
from api.schemas.base import NO_CONTROLS
from api.schemas.coverage import CoverageList, CoverageReply, TileJson, VectorLayer
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.store import coverage, map_tiles, models
from constellation_pipelines.store.map_tiles import MAX_ZOOM, MapTile

router = APIRouter(prefix="/api/v1/coverage", tags=["coverage"], route_class=Route)

MOST = 2**MAX_ZOOM - 1
WORLD = [-180.0, -85.051129, 180.0, 85.051129]
KEPT = {"Cache-Control": "private, max-age=30"}
LAYER = VectorLayer(
    id="tiles",
    description="Tiles; where they are too many, squares that count them",
    fields={
        "class": "Value of the most frequent class",
        "name": "Its name",
        "confidence": "Mean confidence, 0 to 1; not of squares",
        "run_id": "Run that computed the tile; not of squares",
        "computed_at": "When, as 2026-11-25T14:00:00Z; not of squares",
        "tiles": "Tiles in a square; only of squares",
        "area_km2": "Their area; only of squares",
    },
)

ModelPart = Annotated[str, Path(max_length=300, pattern=NO_CONTROLS)]
IfNoneMatch = Annotated[
    str | None,
    Header(
        max_length=1000,
        pattern=NO_CONTROLS,
        description="`ETag` of an answer that is at hand: 304 where it is still right.",
    ),
]
Place = Annotated[int, Path(ge=0, le=MOST, description="Less than 2^z.")]


class VectorTile(Response):
    """A Mapbox vector tile."""

    media_type = "application/vnd.mapbox-vector-tile"


@router.get("", summary="List what models covered")
def list_coverage(database: DatabasePart) -> CoverageList:
    """Tiles, area and bounds of each model that covered anything."""
    with database.transaction() as connection:
        found = coverage.covered(connection)
    return CoverageList(items=[CoverageReply.model_validate(one) for one in found])


@router.get("/{model}", summary="Describe a model's coverage map")
def show_coverage(model: ModelPart, database: DatabasePart) -> TileJson:
    """TileJSON of what a model covered, for maps: `name@version`, or a name for its newest
    version."""
    with database.transaction() as connection:
        found = models.find(connection, model)
        covered = coverage.covered(connection, found.id)
    reference = found.card.reference
    return TileJson(
        name=reference,
        tiles=[f"{router.prefix}/{quote(reference, safe='@')}/{{z}}/{{x}}/{{y}}"],
        minzoom=0,
        maxzoom=MAX_ZOOM,
        bounds=covered[0].bounds if covered else WORLD,
        vector_layers=[LAYER],
    )


@router.get(
    "/{model}/{z}/{x}/{y}",
    summary="Show a tile of the coverage map",
    response_class=VectorTile,
    responses={
        200: {
            "content": {VectorTile.media_type: {"schema": {"type": "string", "format": "binary"}}}
        },
        304: {"description": "Nothing has changed since the answer that `If-None-Match` names"},
    },
)
def show_map_tile(
    model: ModelPart,
    z: Annotated[int, Path(ge=0, le=MAX_ZOOM)],
    x: Place,
    y: Place,
    database: DatabasePart,
    tenancy: TenancyPart,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A Mapbox vector tile of 200 kB at most with one layer, `tiles`; empty where there is nothing.
    Where tiles are too many to be drawn, squares count them."""
    for field, value in (("x", x), ("y", y)):
        if value >= 2**z:
            raise InvalidInput(f"{field}: at zoom {z} it is less than {2**z}", field=field)
    with database.transaction() as connection:
        found = models.find(connection, model)
        whose = None if tenancy.sees_all else tenancy.account
        changes = coverage.changes(connection, found.id)
        tag = tag_of(map_tiles.FORM, found.id, whose, changes)
        headers = KEPT | {"ETag": tag}
        if holds(if_none_match, tag):
            return Response(status_code=304, headers=headers)
        names = {one.value: one.name for one in found.card.classes}
        drawn = map_tiles.draw(connection, found.id, MapTile(z, x, y), names)
    return VectorTile(drawn, headers=headers)
