"""Forms of the coverage map."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.schemas.base import Reply

Bounds = Annotated[list[float], Field(min_length=4, max_length=4)]


class CoverageReply(Reply):
    """What a model covered."""

    model: str
    tiles: int = Field(description="Completed tiles with any valid pixel.")
    area_km2: float = Field(description="Their sum: ground that two scenes show counts twice.")
    bounds: Bounds = Field(
        description="West, south, east, north in degrees; of tiles on both sides of 180, -180 to "
        "180."
    )
    computed_at: datetime = Field(description="When the newest tile was computed.")


class CoverageList(Reply):
    """Models that covered anything, by name."""

    items: list[CoverageReply]


class VectorLayer(Reply):
    """A layer of the map tiles: its fields, and what they say."""

    id: str
    description: str
    fields: dict[str, str]


class TileJson(Reply):
    """TileJSON 3.0: what a map needs to know to show the tiles."""

    tilejson: Literal["3.0.0"] = "3.0.0"
    name: str
    tiles: list[str] = Field(description="Templates of URLs, from this server's root.")
    minzoom: int
    maxzoom: int
    bounds: Bounds = Field(description="The whole map where nothing is covered yet.")
    vector_layers: list[VectorLayer]
