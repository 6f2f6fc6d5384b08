"""`constellation gpus`: the GPUs, what they do, and who holds them."""

from typing import Any

import typer

from constellation_pipelines.commands.client import connect
from constellation_pipelines.commands.output import JsonFlag, moment, print_json, print_table

app = typer.Typer()

NOTHING_TOLD = dict.fromkeys(("utilisation_pct", "mem_used_mb", "temperature_c", "power_w"))


@app.command()
def gpus(as_json: JsonFlag = False) -> None:
    """List GPUs, simulated ones too: what each does, how it is, and who holds it since when."""
    with connect() as client:
        found = client.get("/gpus")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        (
            *("GPU", "NAME", "SIMULATED", "STATE", "RUNS", "BUSY %"),
            *("USED MB", "LEASED MB", "OF MB", "TEMP C", "WATTS", "HEALTH"),
        ),
        [(*told(gpu), health_of(gpu)) for gpu in found],
        empty="no GPU was ever seen: is a worker running? `constellation status` tells",
    )
    held = [(gpu, holder) for gpu in found for holder in gpu["holders"]]
    if held:
        print_table(
            ("GPU", "HELD BY JOB", "OF ACCOUNT", "SINCE"),
            [
                (name_of(gpu), holder["job_id"], holder["account"], moment(holder["acquired_at"]))
                for gpu, holder in held
            ],
            empty="",
        )


def told(gpu: dict[str, Any]) -> tuple[Any, ...]:
    """What a GPU is and does, as far as somebody has told lately."""
    sample = gpu["sample"] or NOTHING_TOLD
    return (
        name_of(gpu),
        gpu["name"],
        gpu["simulated"],
        state_of(gpu),
        f"{gpu['runs']}/{gpu['slots']}",
        whole(sample["utilisation_pct"]),
        sample["mem_used_mb"],
        gpu["leased_mem_mb"],
        gpu["total_mem_mb"],
        whole(sample["temperature_c"]),
        whole(sample["power_w"]),
    )


def name_of(gpu: dict[str, Any]) -> str:
    """A GPU's name for people, which `constellation samples` takes too."""
    return f"{gpu['host']}/{gpu['index']}"


def whole(value: float | None) -> int | None:
    """A figure without its fraction, which says nothing."""
    return None if value is None else round(value)


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
