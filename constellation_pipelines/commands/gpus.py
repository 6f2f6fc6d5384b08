"""`constellation gpus`: the GPUs and who holds them."""

from typing import Any

import typer

from constellation_pipelines.commands.client import connect
from constellation_pipelines.commands.output import JsonFlag, print_json, print_table

app = typer.Typer()


@app.command()
def gpus(as_json: JsonFlag = False) -> None:
    """List GPUs, simulated ones too, how they are and which job holds each."""
    with connect() as client:
        found = client.get("/gpus")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        (
            *("HOST", "#", "GPU", "MEMORY MB", "LEASED MB", "RUNS"),
            *("SIMULATED", "STATE", "JOB", "HEALTH"),
        ),
        [
            (
                gpu["host"],
                gpu["index"],
                gpu["name"],
                gpu["total_mem_mb"],
                gpu["leased_mem_mb"],
                f"{gpu['runs']}/{gpu['slots']}",
                gpu["simulated"],
                state_of(gpu),
                gpu["held_by"] and gpu["held_by"]["job_id"],
                health_of(gpu),
            )
            for gpu in found
        ],
        empty="no GPU was ever seen: is a worker running? `constellation status` tells",
    )


def health_of(gpu: dict[str, Any]) -> str:
    """Whether a GPU is well, why not, and else the last thing that went wrong on it."""
    if gpu["health"] != "ok":
        return f"{gpu['health']}: {gpu['health_reason']}"
    last = next(iter(gpu["faults"]), None)
    return f"ok; last fault: {last['message']}" if last else "ok"


def state_of(gpu: dict[str, Any]) -> str:
    """What a GPU does now, in one word."""
    if not gpu["online"]:
        return "away"
    if gpu["health"] != "ok":
        return "quarantined"
    if gpu["runs"]:  # of any account
        return "busy"
    return "free" if gpu["engine_ready"] else "starting"
