"""`constellation areas`: keep shapes that jobs can name."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from constellation_pipelines.commands.client import Client, connect, segment
from constellation_pipelines.commands.jobs import read_aoi
from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
    printable,
)
from constellation_pipelines.domain.errors import InvalidInput, NotFound

app = typer.Typer()

AreaArgument = Annotated[str, typer.Argument(metavar="NAME", help="An area's name or id.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What jobs call it.")],
    file: Annotated[Path, typer.Argument(help="GeoJSON of polygons, longitude and latitude.")],
    as_json: JsonFlag = False,
) -> None:
    """Keep the shape in a file under a name."""
    request = {"name": name, "geometry": read_aoi(file)}
    with connect() as client:
        area = client.post("/areas", request)
    if as_json:
        print_json(area)
        return
    typer.echo(printable(f"{area['name']} is {area['id']}: {area['km2']:,.1f} km2"))


@app.command("list")
def list_areas(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List areas, newest first."""
    with connect() as client:
        found = list(client.pages("/areas", most=limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ("AREA", "NAME", "KM2", "WEST, SOUTH, EAST, NORTH", "ACCOUNT", "ADDED"),
        [
            (
                one["id"],
                one["name"],
                one["km2"],
                bounds(one),
                one["account"],
                moment(one["created_at"]),
            )
            for one in found
        ],
        empty="no areas yet: add one with `constellation areas add NAME FILE`",
    )


@app.command()
def show(area: AreaArgument, as_json: JsonFlag = False) -> None:
    """Show an area; with --json its shape too."""
    with connect() as client:
        found = client.get(f"/areas/{segment(id_of(client, area))}")
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "area": found["id"],
            "name": found["name"],
            "account": found["account"],
            "size": f"{found['km2']:,.1f} km2",
            "bounds": bounds(found),
            "polygons": len(found["geometry"]["coordinates"]),
            "added": moment(found["created_at"]),
        }
    )


@app.command()
def remove(area: AreaArgument, as_json: JsonFlag = False) -> None:
    """Remove an area. Jobs over it keep their copy of its shape."""
    with connect() as client:
        removed = client.delete(f"/areas/{segment(id_of(client, area))}")
    print_json(removed) if as_json else typer.echo(printable(f"removed {removed['name']}"))


def id_of(client: Client, reference: str) -> str:
    """The id of an area by its name or id. Raises NotFound, and InvalidInput where several accounts
    have one of this name, which admins see.
    """
    try:
        return str(UUID(reference))
    except ValueError:
        found = client.get("/areas", name=reference)["items"]
    if not found:
        raise NotFound(f"there is no area {reference!r}; `constellation areas list` shows them")
    if len(found) > 1:
        ids = ", ".join(one["id"] for one in found)
        raise InvalidInput(f"several accounts have an area of this name: give its id, of {ids}")
    return str(found[0]["id"])


def bounds(area: dict[str, Any]) -> str:
    """An area's bounds as people read them."""
    return ", ".join(f"{degrees:.4f}" for degrees in area["bbox"])
