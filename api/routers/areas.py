"""Routes of areas."""

from typing import Annotated
from uuid import UUID

import shapely
from fastapi import APIRouter, Query, Response

from api.deps import DatabasePart, PrincipalPart
from api.routing import Route
from api.schemas.area import AreaDetail, AreaPage, AreaReply, AreaRequest
from api.schemas.base import Line
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.aoi import validate_aoi
from constellation_pipelines.geo.footprint import area_km2
from constellation_pipelines.store import areas, audit
from constellation_pipelines.store.areas import NewArea

router = APIRouter(prefix="/api/v1/areas", tags=["areas"], route_class=Route)


@router.post(
    "",
    status_code=201,
    summary="Add an area",
    responses={
        200: {"model": AreaReply, "description": "There is one of this name and shape already."}
    },
)
def add_area(
    request: AreaRequest, response: Response, database: DatabasePart, principal: PrincipalPart
) -> AreaReply:
    """Keep a shape under a name that jobs can give as their `area`. It is checked as a job's `aoi`
    is. The same name with the same shape gives the area that is there."""
    new = new_area(request, principal.account)
    with database.transaction() as connection:
        area, is_new = areas.add(connection, new)
        if is_new:
            audit.record(connection, "area.added", str(area.id), name=area.name)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"{router.prefix}/{area.id}"
    return AreaReply.model_validate(area)


def new_area(request: AreaRequest, account: str) -> NewArea:
    """The area asked for, measured. Raises InvalidInput."""
    if not request.name.strip():
        raise InvalidInput("name: must not be blank", field="name")
    if areas.id_in(request.name) is not None:
        raise InvalidInput("name: an id cannot be a name: jobs take either", field="name")
    shape = shapely.geometry.shape(validate_aoi(request.geometry, "geometry"))
    return NewArea(account, request.name, shape, dateline.bounds(shape), area_km2(shape))


@router.get("", summary="List areas")
def list_areas(
    database: DatabasePart,
    name: Annotated[Line | None, Query(description="Only the one of this name.")] = None,
    cursor: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> AreaPage:
    """Areas, newest first, without their shapes."""
    with database.transaction() as connection:
        found = areas.list_page(connection, before=cursor, name=name, limit=limit + 1)
    page = found[:limit]
    return AreaPage(
        items=[AreaReply.model_validate(one) for one in page],
        next=page[-1].id if len(found) > limit else None,
    )


@router.get("/{area_id}", summary="Show an area")
def show_area(area_id: UUID, database: DatabasePart) -> AreaDetail:
    """An area with its shape."""
    with database.transaction() as connection:
        area, geometry = areas.find(connection, area_id)
    return AreaDetail(**AreaReply.model_validate(area).model_dump(), geometry=geometry)


@router.delete("/{area_id}", summary="Remove an area")
def remove_area(area_id: UUID, database: DatabasePart) -> AreaReply:
    """Remove an area. Jobs over it have their own copy of its shape and go on."""
    with database.transaction() as connection:
        removed = areas.remove(connection, area_id)
        audit.record(connection, "area.removed", str(area_id), name=removed.name)
    return AreaReply.model_validate(removed)
