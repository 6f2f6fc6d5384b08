"""`constellation limits`: how many runs may run at once."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from constellation_pipelines.commands.output import JsonFlag, print_json, print_table
from constellation_pipelines.domain.errors import InvalidInput

if TYPE_CHECKING:
    from constellation_pipelines.store.limits import Limits

app = typer.Typer()

NONE = "none"
LARGEST = 1_000_000


@app.command()
def limits(
    running_runs: Annotated[
        str | None,
        typer.Option(metavar="N|none", help="Of all accounts; with --account of that one."),
    ] = None,
    per_account: Annotated[
        str | None,
        typer.Option(metavar="N|none", help="Of each account that has none of its own."),
    ] = None,
    account: Annotated[str | None, typer.Option(help="The account that is meant.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show or set how many runs may run at once. What runs already goes on."""
    from constellation_pipelines.commands.stack import database_url, load_settings
    from constellation_pipelines.store import limits as store
    from constellation_pipelines.store.database import Database

    if account is not None and running_runs is None:
        raise InvalidInput("--account needs --running-runs N, or none for the limit of each")
    of_all = None if running_runs is None else number(running_runs, "--running-runs")
    of_each = None if per_account is None else number(per_account, "--per-account")
    database = Database(database_url(load_settings()), max_size=1)
    try:
        with database.transaction() as connection:
            if account is not None:
                store.set_of_account(connection, account, of_all)
            elif running_runs is not None:
                store.set_running_runs(connection, of_all)
            if per_account is not None:
                store.set_per_account(connection, of_each)
            found = store.find(connection)
    finally:
        database.close()
    print_json(asdict(found)) if as_json else print_limits(found)


def number(text: str, option: str) -> int | None:
    """A limit: a whole number above 0, or None for `none`. Raises InvalidInput."""
    if text == NONE:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST:
        raise InvalidInput(f"{option} is {text!r}; it must be 1 to {LARGEST:,}, or {NONE}")
    return int(text)


def print_limits(found: "Limits") -> None:
    """The limits, for people."""
    rows = [("all accounts together", found.running_runs), ("each account", found.per_account)]
    rows += [(f"account {name}", most) for name, most in found.accounts.items()]
    print_table(
        ("RUNS OF", "AT ONCE"),
        [(name, "no limit" if most is None else str(most)) for name, most in rows],
        empty="",
    )
