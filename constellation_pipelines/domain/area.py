"""A named area of interest of an account."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Area:
    """An area as lists show it.

    `bbox` is west, south, east, north in degrees; west is greater than east across 180 degrees.
    `km2` is its size on the WGS 84 ellipsoid.
    """

    id: UUID
    account: str
    name: str
    bbox: list[float]
    km2: float
    created_at: datetime
