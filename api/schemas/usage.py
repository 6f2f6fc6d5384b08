"""Forms of usage."""

from datetime import date
from typing import Self

from pydantic import Field

from api.schemas.base import Reply
from constellation_pipelines.domain import usage
from constellation_pipelines.domain.usage import Usage

COLUMNS = ("day", "model", "gpu_s", "energy_j", "tiles", "area_km2")


class UsageRow(Reply):
    """What was used on a day, with a model, or in all."""

    day: date | None = Field(default=None, description="UTC; null in sums over days.")
    model: str | None = Field(default=None, description="`name@version`; null in sums over models.")
    gpu_s: float = Field(description="Seconds for which slots of GPUs were leased.")
    energy_j: float | None = Field(description="Joules; null where no GPU told.")
    tiles: int = Field(description="Tiles completed, each counted once.")
    area_km2: float

    @classmethod
    def of(cls, row: Usage) -> Self:
        """The form of this row."""
        return cls(
            day=row.day,
            model=row.model or None,
            gpu_s=row.gpu_s,
            energy_j=row.energy_j,
            tiles=row.tiles,
            area_km2=row.area_km2,
        )


class UsageReply(Reply):
    """What an account has used."""

    account: str
    first_day: date
    last_day: date
    total: UsageRow
    items: list[UsageRow]

    @classmethod
    def of(
        cls, account: str, first: date, last: date, rows: list[Usage], items: list[Usage]
    ) -> Self:
        """The form of these rows, shown as `items`."""
        whole = usage.total(account, None, "", rows)
        return cls(
            account=account,
            first_day=first,
            last_day=last,
            total=UsageRow.of(whole),
            items=[UsageRow.of(item) for item in items],
        )


class Standing(Reply):
    """An account's place."""

    rank: int
    account: str
    gpu_s: float
    energy_j: float | None
    tiles: int
    area_km2: float


class Leaderboard(Reply):
    """Accounts by the area they covered."""

    first_day: date
    last_day: date
    items: list[Standing]
