"""`constellation samples`: what a GPU has been doing."""

from typing import Annotated

import typer

from constellation_pipelines.commands.client import connect, segment
from constellation_pipelines.commands.output import JsonFlag, moment, print_json, print_table

app = typer.Typer()


@app.command()
def samples(
    uuid: Annotated[str, typer.Argument(help="A GPU's uuid, as `gpus --json` tells it.")],
    seconds: Annotated[int, typer.Option(min=1, max=3600, help="How far back.")] = 60,
    step_s: Annotated[int, typer.Option(min=1, max=600, help="One sample in so long.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """List what a GPU has been doing in the last hour."""
    with connect() as client:
        found = client.get(f"/gpus/{segment(uuid)}/samples", seconds=seconds, step_s=step_s)
    if as_json:
        print_json(found)
        return
    names = [name for name in next(iter(found["items"]), {}) if name not in ("at", "uuid")]
    print_table(
        ("AT", *(name.upper().replace("_", " ") for name in names)),
        [(moment(one["at"]), *(one[name] for name in names)) for one in found["items"]],
        empty="no sample in that time",
    )
