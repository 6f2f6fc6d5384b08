"""`constellation models`: describe, check, add and look at models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from constellation_pipelines.commands.card import init
from constellation_pipelines.commands.client import connect, segment
from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from constellation_pipelines.domain.model import Model
    from constellation_pipelines.inference.adding import Checked, Try

app = typer.Typer()
app.command()(init)

Package = Annotated[
    Path, typer.Argument(help="Folder of the package: model.json and its weights.", metavar="PATH")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=1, help="Seconds that the dry run may take.")
]
MemoryOption = Annotated[
    int, typer.Option("--memory-mb", min=512, help="Memory that the dry run may take.")
]


@app.command()
def add(
    path: Package,
    timeout_s: TimeoutOption = 180.0,
    memory_mb: MemoryOption = 16_384,
    as_json: JsonFlag = False,
) -> None:
    """Check a package, run it dry, and make it a model that jobs can name."""
    from constellation_pipelines.commands.stack import load_settings
    from constellation_pipelines.inference.adding import add_package
    from constellation_pipelines.stack.attach import attached

    settings = attached(load_settings())
    checked = add_package(path, settings.models_dir, attempt_within(timeout_s, memory_mb))
    registered = register(settings.database_url, checked.model)
    facts = facts_of(checked)
    if as_json:
        print_json({**facts, "folder": checked.model.folder, "registered": registered})
        return
    print_facts({**facts, "folder": checked.model.folder})
    name = checked.model.card.name
    typer.echo(
        f"jobs can name it now: constellation jobs submit --model {name} --scene ..."
        if registered
        else "no running stack was found; the model is registered once there is one"
    )


@app.command()
def check(
    path: Package,
    timeout_s: TimeoutOption = 180.0,
    memory_mb: MemoryOption = 16_384,
    as_json: JsonFlag = False,
) -> None:
    """Check a package and run it dry; nothing is changed."""
    from constellation_pipelines.inference.adding import check_package

    checked = check_package(path, attempt_within(timeout_s, memory_mb))
    if as_json:
        print_json(facts_of(checked))
        return
    print_facts(facts_of(checked))
    typer.echo("the package is in order")


def attempt_within(timeout_s: float, memory_mb: int) -> "Try":
    """A dry run within these limits."""
    from constellation_pipelines.inference.trial import try_package

    return lambda folder: try_package(folder, timeout_s=timeout_s, memory_mb=memory_mb)


def register(database_url: str | None, model: "Model") -> bool:
    """Enter a model into the database, so that jobs can name it at once; whether that was possible.

    Where it was not, the dispatcher does it as soon as it can.
    """
    from constellation_pipelines.domain.errors import ServiceUnavailable
    from constellation_pipelines.store import models
    from constellation_pipelines.store.database import Database

    if database_url is None:
        return False
    database = Database(database_url, max_size=1)
    try:
        with database.transaction() as connection:
            models.save(connection, model)
    except ServiceUnavailable:
        return False
    finally:
        database.close()
    return True


def facts_of(checked: "Checked") -> dict[str, Any]:
    """What a person wants to know of a package that is in order."""
    card, trial = checked.model.card, checked.trial
    return {
        "model": card.reference,
        "task": card.task.value,
        "weights": card.weights_format.value,
        "architecture": card.architecture,
        "parameters": trial.parameters,
        "bands": [band.name for band in card.bands],
        "chip_px": card.chip_px,
        "halo_px": card.halo_px,
        "output": list(trial.output_shape),
        "classes": [found.name for found in card.classes],
        "chips_per_s": trial.chips_per_s,
        "load_s": trial.load_s,
        "digest": checked.model.digest,
    }


@app.command("list")
def list_models(as_json: JsonFlag = False) -> None:
    """List registered models."""
    with connect() as client:
        found = client.get("/models")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("MODEL", "TASK", "ARCHITECTURE", "BANDS", "CHIP PX", "GSD M", "CLASSES"),
        [
            (
                model["reference"],
                model["task"],
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
