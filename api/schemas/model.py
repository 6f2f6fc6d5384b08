"""Forms of models."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.domain.model import Model


class ModelClassReply(Reply):
    """One class: its value in rasters, its name, its map colour."""

    value: int
    name: str
    color: str


class ModelReply(Reply):
    """A registered model."""

    id: UUID
    name: str
    version: str
    reference: str = Field(description="`name@version`, as jobs name it.")
    digest: str
    architecture: str | None
    task: str
    bands: list[str]
    chip_px: int
    halo_px: int
    gsd_min_m: float
    gsd_max_m: float
    classes: list[ModelClassReply]
    created_at: datetime | None
    document: dict[str, Any] = Field(description="The package's STAC Item.")

    @classmethod
    def of(cls, model: Model) -> Self:
        """The form of this model."""
        card = model.card
        return cls(
            id=model.id,
            name=card.name,
            version=card.version,
            reference=card.reference,
            digest=model.digest,
            architecture=card.architecture,
            task=card.task,
            bands=[band.name for band in card.bands],
            chip_px=card.chip_px,
            halo_px=card.halo_px,
            gsd_min_m=card.gsd_min_m,
            gsd_max_m=card.gsd_max_m,
            classes=[ModelClassReply.model_validate(item) for item in card.classes],
            created_at=model.created_at,
            document=model.document,
        )


class ModelList(Reply):
    """Every registered model."""

    items: list[ModelReply]
