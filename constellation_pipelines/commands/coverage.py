"""`constellation coverage`: what models covered, and tiles of its map."""

from pathlib import Path
from typing import Annotated, Any

import typer

from constellation_pipelines.commands.client import connect, segment
from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
    printable,
)
from constellation_pipelines.domain.errors import InvalidInput

app = typer.Typer()

Model = Annotated[str, typer.Argument(help="name@version; of a name alone the newest version.")]


@app.command("list")
def list_coverage(as_json: JsonFlag = False) -> None:
    """List what models covered."""
    with connect() as client:
        found = client.get("/coverage")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("MODEL", "TILES", "KM2", "WEST, SOUTH, EAST, NORTH", "NEWEST"),
        [
            (
                one["model"],
                one["tiles"],
                f"{one['area_km2']:,.1f}",
                bounds(one),
                moment(one["computed_at"]),
            )
            for one in found
        ],
        empty="nothing is covered yet",
    )


@app.command()
def show(model: Model, as_json: JsonFlag = False) -> None:
    """Describe a model's coverage map; with --json as TileJSON."""
    with connect() as client:
        found = client.get(f"/coverage/{segment(model)}")
        root = client.url
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "model": found["name"],
            "tiles": root + found["tiles"][0],
            "zoom": f"{found['minzoom']} to {found['maxzoom']}",
            "bounds": bounds(found),
            "layers": ", ".join(one["id"] for one in found["vector_layers"]),
        }
    )


@app.command()
def tile(
    model: Model,
    z: Annotated[int, typer.Argument(min=0, help="Zoom.")],
    x: Annotated[int, typer.Argument(min=0, help="Column, from the west.")],
    y: Annotated[int, typer.Argument(min=0, help="Row, from the north.")],
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a tile of the coverage map into a file, as a Mapbox vector tile."""
    with connect() as client:
        drawn = client.content(f"/coverage/{segment(model)}/{z}/{x}/{y}")
    try:
        file.write_bytes(drawn)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"file": str(file), "bytes": len(drawn)})
        return
    typer.echo(printable(f"{file}: {len(drawn):,} bytes"))


def bounds(found: dict[str, Any]) -> str:
    """Bounds as people read them."""
    return ", ".join(f"{degrees:.4f}" for degrees in found["bounds"])
