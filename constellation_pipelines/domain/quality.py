"""A scene's quality mask: which of its pixels show clouds."""

from dataclasses import dataclass
from enum import StrEnum


class QualityKind(StrEnum):
    """How a mask's values are to be read."""

    SCL = "scl"  # Sentinel-2 scene classification: one class per pixel
    QA_PIXEL = "qa_pixel"  # Landsat Collection 2: one bit per finding


@dataclass(frozen=True, slots=True)
class QualityMask:
    """Where a scene's mask is: band `index` (from 1) of a raster, the scene's own or another one.

    Its pixels may be larger or smaller than the scene's; both cover the same ground.
    """

    kind: QualityKind
    uri: str
    index: int = 1
