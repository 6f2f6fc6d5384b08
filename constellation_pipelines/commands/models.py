"""`constellation models`: look at models."""

from typing import Annotated

import typer

from constellation_pipelines.commands.client import connect, segment
from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
)

app = typer.Typer()


@app.command("list")
def list_models(as_json: JsonFlag = False) -> None:
    """List registered models."""
    with connect() as client:
        found = client.get("/models")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("MODEL", "ARCHITECTURE", "BANDS", "CHIP PX", "GSD M", "CLASSES"),
        [
            (
                model["reference"],
                model["architecture"],
                model["bands"],
                model["chip_px"],
                f"{model['gsd_min_m']:g} to {model['gsd_max_m']:g}",
                len(model["classes"]),
            )
            for model in found
        ],
        empty="no models are registered",
    )


@app.command()
def show(
    reference: Annotated[str, typer.Argument(help="name@version, or a name.")],
    as_json: JsonFlag = False,
) -> None:
    """Show a model."""
    with connect() as client:
        model = client.get(f"/models/{segment(reference)}")
    if as_json:
        print_json(model)
        return
    print_facts(
        {
            "model": model["reference"],
            "task": model["task"],
            "architecture": model["architecture"],
            "bands": model["bands"],
            "chip": f"{model['chip_px']} px, halo {model['halo_px']} px",
            "pixel size": f"{model['gsd_min_m']:g} to {model['gsd_max_m']:g} m",
            "classes": [f"{item['value']} {item['name']}" for item in model["classes"]],
            "digest": model["digest"],
            "registered": moment(model["created_at"]),
            "about": model["document"].get("properties", {}).get("description"),
        }
    )
