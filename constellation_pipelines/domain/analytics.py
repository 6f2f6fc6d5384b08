"""Analytics: what was found, by class and by when it was computed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from uuid import UUID

Box = tuple[float, float, float, float]  # west, south, east, north in degrees, west <= east


@dataclass(frozen=True, slots=True)
class Part:
    """What was found of a class (None: of all) in a period (None: in all of the time asked for).

    `units` are chips, or pixels of a model that is dense. `weighed` is the sum of the confidence of
    the tiles, each times its units, over the `weight` units of which there is a confidence.
    """

    period: date | None
    value: int | None
    tiles: int
    units: int
    area_km2: float
    weighed: float
    weight: int

    @property
    def confidence(self) -> float | None:
        """The mean over the units; None where no tile told any."""
        return self.weighed / self.weight if self.weight else None


@dataclass(frozen=True, slots=True)
class Unread:
    """A run whose file was not read, and why: `missing` or `damaged`."""

    run_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The classes of each period, the sums of each period, and what was not read."""

    classes: list[Part]
    periods: list[Part]
    runs: int
    unread: list[Unread]

    def total(self) -> Part:
        """All periods together: a tile lies in one of them."""
        return added(self.periods)

    def share(self, part: Part) -> float:
        """A part's share of the area of its period."""
        whole = next(one.area_km2 for one in self.periods if one.period == part.period)
        return part.area_km2 / whole if whole else 0.0


def added(parts: Iterable[Part]) -> Part:
    """The sum of parts, none of which share a tile."""
    listed = list(parts)
    return Part(
        period=None,
        value=None,
        tiles=sum(one.tiles for one in listed),
        units=sum(one.units for one in listed),
        area_km2=sum(one.area_km2 for one in listed),
        weighed=sum(one.weighed for one in listed),
        weight=sum(one.weight for one in listed),
    )


def boxes_of(bbox: Box) -> tuple[Box, ...]:
    """The box, as two where it crosses 180 degrees: where west is greater than east."""
    west, south, east, north = bbox
    if west <= east:
        return (bbox,)
    return (west, south, 180.0, north), (-180.0, south, east, north)
