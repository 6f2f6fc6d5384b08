"""`constellation usage`: what accounts have used."""

from datetime import datetime
from typing import Annotated, Any

import typer

from constellation_pipelines.commands.client import connect, segment
from constellation_pipelines.commands.output import JsonFlag, print_json, print_table
from constellation_pipelines.domain.errors import InvalidInput

app = typer.Typer()

Day = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day in UTC, such as 2026-11-25.")
]


@app.command()
def usage(
    account: Annotated[str, typer.Argument(help="Whose; `me` is the account of your key.")] = "me",
    first: Day = None,
    last: Day = None,
    by: Annotated[str, typer.Option(help="day, model, or both: day,model.")] = "day,model",
    leaderboard: Annotated[
        bool, typer.Option("--leaderboard", help="All accounts, by the area they covered.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: one account's.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show GPU time, energy, tiles and area of an account, of the last 30 days if not told."""
    days = {"first_day": day_of(first), "last_day": day_of(last)}
    if as_csv and (leaderboard or as_json):
        raise InvalidInput("--csv goes neither with --leaderboard nor with --json")
    with connect() as client:
        if as_csv:
            path = f"/usage/accounts/{segment(account)}"
            typer.echo(client.text(path, by=by, format="csv", **days), nl=False)
            return
        if leaderboard:
            found = client.get("/usage/leaderboard", **days)
        else:
            found = client.get(f"/usage/accounts/{segment(account)}", by=by, **days)
    if as_json:
        print_json(found)
        return
    head = ("RANK", "ACCOUNT") if leaderboard else ("DAY", "MODEL")
    rows = [(*(row[name.lower()] for name in head), *figures(row)) for row in found["items"]]
    if not leaderboard:
        rows.append(("all", None, *figures(found["total"])))
    print_table(
        (*head, "GPU SECONDS", "ENERGY KJ", "TILES", "KM2"),
        rows,
        empty="nothing was used in these days",
    )


def figures(row: dict[str, Any]) -> tuple[Any, ...]:
    """The figures of a row, for people."""
    energy = None if row["energy_j"] is None else f"{row['energy_j'] / 1000:,.1f}"
    return f"{row['gpu_s']:,.1f}", energy, row["tiles"], f"{row['area_km2']:,.1f}"


def day_of(moment: datetime | None) -> str | None:
    """A day as the API takes it."""
    return None if moment is None else moment.date().isoformat()
