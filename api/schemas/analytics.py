"""Forms of analytics."""

from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.domain.analytics import Findings, Part
from constellation_pipelines.domain.model import ModelCard

FIGURES = ("tiles", "count", "area_km2", "share", "confidence")
CLASS_COLUMNS = ("value", "name", *FIGURES)
SERIES_COLUMNS = ("period", *CLASS_COLUMNS)
RUNS_SHOWN = 100
DECIMALS = 6  # sums of several threads differ behind these


class Figures(Reply):
    """What was found, of one class or of all."""

    tiles: int = Field(description="Tiles in which it was found, each counted once.")
    count: int = Field(description="Chips or pixels, as `unit` says.")
    area_km2: float = Field(description="Of what holds data, on the ellipsoid.")
    confidence: float | None = Field(
        description="Mean confidence of the tiles in which it was found, weighed by `count`; null "
        "where none of them tells any."
    )


class ClassRow(Figures):
    """What was found of a class."""

    value: int
    name: str | None = Field(description="As the model's card has it now; null for none of its.")
    share: float = Field(description="Of the classified area of all classes, 0 to 1.")


class SeriesRow(ClassRow):
    """What was found of a class in a period."""

    period: date = Field(description="First day, UTC, of the day or month of computation.")


class UnreadRun(Reply):
    """A completed run whose results are not in the figures."""

    run_id: UUID
    reason: Literal["missing", "damaged"]


class Told(Reply):
    """What all of these answers say."""

    model: str
    unit: Literal["chip", "pixel"]
    runs: int = Field(description="Completed runs whose files were read.")
    tiles_reused: int = Field(
        description="Tiles that these runs took from earlier runs, which are counted there: with "
        "`job`, not at all."
    )
    missing: int = Field(description="Completed runs whose files could not be read.")
    missing_runs: list[UnreadRun] = Field(description=f"The first {RUNS_SHOWN} of these.")
    total: Figures


class Classes(Told):
    """Classes found, the largest area first."""

    items: list[ClassRow]


class Series(Told):
    """Classes found by period, in order of time, then the largest area first."""

    by: Literal["day", "month"]
    items: list[SeriesRow]


class Teller:
    """Makes forms of what was found with a model."""

    def __init__(self, card: ModelCard, found: Findings, tiles_reused: int) -> None:
        self._card = card
        self._found = found
        self._names = {one.value: one.name for one in card.classes}
        self._told: dict[str, Any] = {
            "model": card.reference,
            "unit": "pixel" if card.dense else "chip",
            "runs": found.runs,
            "tiles_reused": tiles_reused,
            "missing": len(found.unread),
            "missing_runs": [UnreadRun.model_validate(one) for one in found.unread[:RUNS_SHOWN]],
            "total": Figures(**figures(found.total())),
        }

    def classes(self) -> Classes:
        """The form of classes."""
        ranked = sorted(self._found.classes, key=lambda one: (-one.area_km2, one.value or 0))
        return Classes(**self._told, items=[ClassRow(**self._row(one)) for one in ranked])

    def series(self, by: Literal["day", "month"]) -> Series:
        """The form of classes by period."""
        ranked = sorted(
            self._found.classes,
            key=lambda one: (one.period or date.min, -one.area_km2, one.value or 0),
        )
        items = [SeriesRow(**self._row(one) | {"period": one.period}) for one in ranked]
        return Series(**self._told, by=by, items=items)

    def _row(self, part: Part) -> dict[str, Any]:
        name = self._names.get(part.value) if part.value is not None else None
        share = round(self._found.share(part), DECIMALS)
        return figures(part) | {"value": part.value, "name": name, "share": share}


def figures(part: Part) -> dict[str, Any]:
    """The figures of a part."""
    return {
        "tiles": part.tiles,
        "count": part.units,
        "area_km2": round(part.area_km2, DECIMALS),
        "confidence": None if part.confidence is None else round(part.confidence, DECIMALS),
    }
