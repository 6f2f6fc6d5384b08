"""Routes of usage."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import DatabasePart, PrincipalPart
from api.routing import Route
from api.schemas.base import NO_CONTROLS, Day
from api.schemas.usage import COLUMNS, Leaderboard, Standing, UsageReply, UsageRow
from api.spreadsheet import csv_of
from constellation_pipelines.domain import usage as sums
from constellation_pipelines.domain.errors import InvalidInput, NotFound
from constellation_pipelines.domain.usage import Usage
from constellation_pipelines.store import accounts, usage

router = APIRouter(prefix="/api/v1/usage", tags=["usage"], route_class=Route)

LONGEST = timedelta(days=366)
USUAL_DAYS = 30
EARLIEST = date(2000, 1, 1)

GROUPED = {
    "day": sums.by_day,
    "model": sums.by_model,
    "account": sums.by_account,
}


class Days(BaseModel):
    """Which days, in UTC, both included."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    first_day: Day | None = Field(default=None, description="Unset: 30 days with the last one.")
    last_day: Day | None = Field(default=None, description="Unset: today.")

    def span(self) -> tuple[date, date]:
        """First and last day. Raises InvalidInput."""
        last = self.last_day or datetime.now(UTC).date()
        first = self.first_day or max(EARLIEST, last) - timedelta(days=USUAL_DAYS - 1)
        if first > last:
            raise InvalidInput("first_day is after last_day", field="first_day")
        if first < EARLIEST or last - first > LONGEST:
            raise InvalidInput(
                f"ask for at most {LONGEST.days} days, none before {EARLIEST}", field="first_day"
            )
        return first, last


class UsageQuery(Days):
    """How to show it."""

    by: Literal["day", "model", "day,model"] = Field(
        default="day,model", description="What rows are told apart by."
    )
    format: Literal["json", "csv"] = "json"


@router.get(
    "/accounts/{account}",
    summary="Show what an account has used",
    response_model=UsageReply,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def show_usage(
    account: Annotated[
        str,
        Path(
            min_length=1, max_length=100, pattern=NO_CONTROLS, description="`me` is whoever asks."
        ),
    ],
    query: Annotated[UsageQuery, Query()],
    database: DatabasePart,
    principal: PrincipalPart,
) -> UsageReply | Response:
    """GPU time, energy, tiles and area, by day and model. Of a reused tile nothing is counted."""
    first, last = query.span()
    name = principal.account if account == "me" else account
    with database.transaction() as connection:
        if not accounts.exists(connection, name):
            raise NotFound(f"there is no account {name!r} that you may see")
        rows = usage.of_account(connection, name, first, last)
    shown = rows if query.by == "day,model" else GROUPED[query.by](rows)
    if query.format == "csv":
        text = csv_of(COLUMNS, map(UsageRow.of, shown))
        return Response(text, media_type="text/csv; charset=utf-8")
    return UsageReply.of(name, first, last, rows, shown)


@router.get("/leaderboard", summary="Rank accounts by the area they covered")
def show_leaderboard(query: Annotated[Days, Query()], database: DatabasePart) -> Leaderboard:
    """Sums of every account of this deployment, for everybody who is signed in."""
    first, last = query.span()
    with database.transaction() as connection:
        rows = sums.by_account(usage.of_everyone(connection, first, last))
    ranked = sorted(rows, key=lambda row: (-row.area_km2, -row.gpu_s, row.account))
    items = [standing(rank, row) for rank, row in enumerate(ranked, 1)]
    return Leaderboard(first_day=first, last_day=last, items=items)


def standing(rank: int, row: Usage) -> Standing:
    """An account's sums with its place."""
    return Standing(
        rank=rank,
        account=row.account,
        gpu_s=row.gpu_s,
        energy_j=row.energy_j,
        tiles=row.tiles,
        area_km2=row.area_km2,
    )
