"""`constellation analytics`: what was found, by class and by time."""

from datetime import datetime
from typing import Annotated, Any

import typer

from constellation_pipelines.commands.client import connect
from constellation_pipelines.commands.output import JsonFlag, print_json, print_table
from constellation_pipelines.commands.usage import day_of
from constellation_pipelines.domain.errors import InvalidInput

app = typer.Typer()

Model = Annotated[str, typer.Argument(help="name@version; of a name alone the newest version.")]
Bbox = Annotated[
    str | None, typer.Option(help="west,south,east,north in degrees; west > east crosses 180.")
]
First = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="First day of computation, UTC."),
]
Last = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, included.")
]
Scene = Annotated[str | None, typer.Option("--scene", "-s", help="A scene's key or id.")]
Job = Annotated[str | None, typer.Option("--job", help="What this job computed itself.")]
CsvFlag = Annotated[bool, typer.Option("--csv", help="Print CSV.")]

FIGURES = ("TILES", "COUNT", "KM2", "SHARE %", "CONFIDENCE")
EMPTY = "nothing was found"


@app.command()
def classes(
    model: Model,
    bbox: Bbox = None,
    first: First = None,
    last: Last = None,
    scene: Scene = None,
    job: Job = None,
    as_csv: CsvFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show tiles, chips or pixels, area and confidence of each class that a model found."""
    asked = {"model": model, "bbox": bbox, "scene": scene, "job": job}
    asked |= {"from": day_of(first), "to": day_of(last)}
    found = answer("/analytics/classes", asked, as_csv=as_csv, as_json=as_json)
    if found is not None:
        rows = [(one["value"], one["name"], *figures(one)) for one in found["items"]]
        show(("CLASS", "NAME"), rows, found)


@app.command()
def series(
    model: Model,
    by: Annotated[str, typer.Option(help="day or month of computation, UTC.")] = "day",
    bbox: Bbox = None,
    first: First = None,
    last: Last = None,
    scene: Scene = None,
    job: Job = None,
    as_csv: CsvFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the same by the day or month in which the tiles were computed."""
    asked = {"model": model, "by": by, "bbox": bbox, "scene": scene, "job": job}
    asked |= {"from": day_of(first), "to": day_of(last)}
    found = answer("/analytics/series", asked, as_csv=as_csv, as_json=as_json)
    if found is not None:
        rows = [(one["period"], one["value"], one["name"], *figures(one)) for one in found["items"]]
        show((by.upper(), "CLASS", "NAME"), rows, found)


def answer(path: str, asked: dict[str, str | None], *, as_csv: bool, as_json: bool) -> Any:
    """The answer to show to people; None when it was printed for programs."""
    if as_csv and as_json:
        raise InvalidInput("--csv does not go with --json")
    with connect() as client:
        if as_csv:
            typer.echo(client.text(path, format="csv", **asked), nl=False)
            return None
        found = client.get(path, **asked)
    if as_json:
        print_json(found)
        return None
    return found


def show(head: tuple[str, ...], rows: list[tuple[Any, ...]], found: dict[str, Any]) -> None:
    """Print the rows with their total, and what is not in them."""
    if rows:
        blank = (None,) * (len(head) - 1)
        rows.append(("all", *blank, *figures(found["total"] | {"share": 1.0})))
    columns = [found["unit"].upper() + "S" if one == "COUNT" else one for one in FIGURES]
    print_table((*head, *columns), rows, empty=EMPTY)
    if found["tiles_reused"]:
        typer.echo(f"{found['tiles_reused']} reused tiles count in the runs that computed them")
    if found["missing"]:
        typer.echo(f"not counted: {found['missing']} runs whose files are missing or damaged")


def figures(row: dict[str, Any]) -> tuple[Any, ...]:
    """The figures of a row, for people."""
    confidence = None if row["confidence"] is None else f"{row['confidence']:.3f}"
    area, share = f"{row['area_km2']:,.1f}", f"{100 * row['share']:.1f}"
    return row["tiles"], row["count"], area, share, confidence
