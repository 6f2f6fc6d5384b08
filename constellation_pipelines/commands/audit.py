"""`constellation audit`: who did what."""

from typing import Annotated

import typer

from constellation_pipelines.commands.client import connect
from constellation_pipelines.commands.output import JsonFlag, moment, print_json, print_table

app = typer.Typer()


@app.command()
def audit(
    account: Annotated[str | None, typer.Option(help="Of this account only.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as job.submitted.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List what was done by whom, newest first. It takes a key of scope admin."""
    with connect() as client:
        found = list(client.pages("/audit", most=limit, account=account, action=action))
    if as_json:
        print_json(found)
        return
    print_table(
        ("AT", "ACCOUNT", "BY", "FROM", "ACTION", "OBJECT"),
        [
            (
                moment(item["at"]),
                item["account"],
                item["actor"],
                item["address"],
                item["action"],
                item["object"],
            )
            for item in found
        ],
        empty="nothing was done yet",
    )
