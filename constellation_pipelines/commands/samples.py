"""`constellation samples`: what a GPU has been doing."""

from typing import Annotated, Any

import typer

from constellation_pipelines.commands.client import Client, connect, segment
from constellation_pipelines.commands.gpus import name_of
from constellation_pipelines.commands.output import JsonFlag, moment, print_json, print_table
from constellation_pipelines.domain.errors import InvalidInput, NotFound

app = typer.Typer()


@app.command()
def samples(
    gpu: Annotated[
        str, typer.Argument(help="host/number as `gpus` shows it, a number, or a uuid.")
    ],
    seconds: Annotated[int, typer.Option(min=1, max=3600, help="How far back.")] = 60,
    step_s: Annotated[int, typer.Option(min=1, max=600, help="One sample in so long.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """List what a GPU has been doing in the last hour."""
    with connect() as client:
        path = f"/gpus/{segment(uuid_of(client, gpu))}/samples"
        found = client.get(path, seconds=seconds, step_s=step_s)
    if as_json:
        print_json(found)
        return
    print_table(
        ("AT", "BUSY %", "USED MB", "TEMP C", "WATTS"),
        [
            (
                moment(one["at"]),
                one["utilisation_pct"],
                one["mem_used_mb"],
                one["temperature_c"],
                one["power_w"],
            )
            for one in found["items"]
        ],
        empty="no sample in that time",
    )


def uuid_of(client: Client, gpu: str) -> str:
    """The uuid of the GPU of this name. Raises NotFound, InvalidInput where several have it."""
    found: list[dict[str, Any]] = [
        one
        for one in client.get("/gpus")["items"]
        if gpu in (one["uuid"], name_of(one), str(one["index"]))
    ]
    if not found:
        raise NotFound(f"there is no GPU {gpu[:100]!r}; `constellation gpus` shows them")
    if len(found) > 1:
        raise InvalidInput(f"which GPU is meant? There are {', '.join(map(name_of, found))}")
    return str(found[0]["uuid"])
