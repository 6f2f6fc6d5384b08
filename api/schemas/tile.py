"""Forms of tiles: GeoJSON features."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.domain.states import TileState


class TileStatistics(Reply):
    """Figures of the values of a tile's valid pixels."""

    min: float
    max: float
    mean: float
    std: float


class TileProperties(Reply):
    """What was found in a tile."""

    row_off_px: int
    col_off_px: int
    height_px: int
    width_px: int
    state: TileState
    class_counts: dict[str, int] = Field(
        description="Chips by class value; pixels where the model answers per pixel. The run's "
        "`metrics.class_counts_unit` says which."
    )
    top_class: int | None
    confidence: float | None = Field(
        description="Mean probability of the top class of its chips or pixels."
    )
    statistics: TileStatistics | None = Field(
        description="Of a regression's values, in the model's unit; null for other models."
    )
    valid_fraction: float = Field(description="Share of its pixels that hold data.")
    cloud_fraction: float | None = Field(
        description="Share of the pixels that hold data which are clouded; null without a quality "
        "mask. What it is compared with is the job's `max_cloud_fraction`."
    )
    gsd_mismatch: bool
    area_km2: float
    read_ms: float
    infer_ms: float
    error: str | None = Field(description="Why it failed; null for others.")


class TileFeature(Reply):
    """A tile. Its geometry is its footprint, lon/lat, split at 180 degrees."""

    type: Literal["Feature"]
    id: UUID
    geometry: dict[str, Any]
    properties: TileProperties


class TileCollection(Reply):
    """Tiles that a run wrote, row-major. `next` is the `after` of the following page."""

    type: Literal["FeatureCollection"]
    features: list[TileFeature]
    next: str | None
