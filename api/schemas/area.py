"""Forms of areas."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from api.schemas.base import Line, Reply, Request
from api.schemas.job import EXAMPLE, shallow
from constellation_pipelines.geo.aoi import MAX_VERTICES


class AreaRequest(Request):
    """A shape to keep under a name."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"name": "cape-lookout", "geometry": EXAMPLE["aoi"]}},
    )

    name: Line = Field(description="Unique in the account; no id, and not blank.")
    geometry: Annotated[dict[str, Any], AfterValidator(shallow)] = Field(
        description="GeoJSON of polygons, lon/lat: a geometry, Feature or FeatureCollection; "
        f"{MAX_VERTICES} vertices at most."
    )


class AreaReply(Reply):
    """An area without its shape."""

    id: UUID
    account: str
    name: str
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)] = Field(
        description="West, south, east, north in degrees; west > east crosses 180."
    )
    km2: float = Field(description="Its size on the WGS 84 ellipsoid.")
    created_at: datetime


class AreaDetail(AreaReply):
    """An area with its shape."""

    geometry: dict[str, Any] = Field(
        description="A GeoJSON MultiPolygon, split at 180 degrees, as jobs take it."
    )


class AreaPage(Reply):
    """Areas, newest first. `next` is the cursor of the following page, null on the last."""

    items: list[AreaReply]
    next: UUID | None
