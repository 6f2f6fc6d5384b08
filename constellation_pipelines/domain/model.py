"""A model: a named, versioned, digested package that turns chips into predictions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ModelClass:
    """One class of a classifier: its value in rasters, its name and its map colour (#rrggbb)."""

    value: int
    name: str
    color: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the engine needs of a package's STAC MLM `model.json`, already validated.

    `bands` are common names in the order the network expects them. The network's input is the
    value scaled to 0..1 and then (value - mean) / std per band. 8-bit true colour is divided by
    255; reflectance is divided by `reflectance_white` (the reflectance shown as white) and clipped.
    """

    name: str
    version: str
    architecture: str
    architecture_options: dict[str, Any]
    task: str
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reflectance_white: float
    chip_px: int
    halo_px: int
    gsd_min_m: float
    gsd_max_m: float
    classes: tuple[ModelClass, ...]
    weights_file: str
    weights_sha256: str

    @property
    def reference(self) -> str:
        """`name@version`, the way people name a model."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model package. `digest` covers card and weights; `folder` is its package."""

    id: UUID
    digest: str
    folder: str
    card: ModelCard
    document: dict[str, Any]
    created_at: datetime | None = None
