"""`constellation scenes`: register and look at scenes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from constellation_pipelines.commands.client import Client, connect, segment
from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
    printable,
)
from constellation_pipelines.domain.errors import (
    ConstellationError,
    InvalidInput,
    ServiceUnavailable,
)
from constellation_pipelines.domain.quality import QualityKind

SUFFIXES = (".tif", ".tiff", ".jp2")

app = typer.Typer()


@app.command()
def add(
    paths: Annotated[
        list[str],
        typer.Argument(help="GeoTIFF or JPEG2000 files, folders, or URLs of GeoTIFFs."),
    ],
    bands: Annotated[
        str | None, typer.Option(help="Common names in the file's order: red,green,blue,nir.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Reflectance = value * scale + offset.")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    key: Annotated[str | None, typer.Option(help="The scene's short name; for one file.")] = None,
    quality: Annotated[
        Path | None, typer.Option(help="A mask of clouds over the same ground; for one file.")
    ] = None,
    quality_kind: Annotated[
        QualityKind | None, typer.Option(help="What its values are: Sentinel-2's or Landsat's.")
    ] = None,
    quality_band: Annotated[int, typer.Option(min=1, help="The number of its band.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Register scenes. Only headers are read; what cannot be used is refused with its reason."""
    files = list(rasters(paths))
    if key is not None and len(files) != 1:
        raise InvalidInput("--key names one scene: give it with one file")
    about = {"scale": scale, "offset": offset, "key": key}
    request: dict[str, Any] = {name: value for name, value in about.items() if value is not None}
    if bands is not None:
        request["bands"] = [name.strip() for name in bands.split(",")]
    if quality is not None or quality_kind is not None:
        request["quality"] = mask_of(quality, quality_kind, quality_band, files)
    with connect() as client:
        results = [one for one in register(client, files, request, quiet=as_json)]
    if as_json:
        print_json(results)
    refused = sum("refused" in result for result in results)
    if refused:
        raise ConstellationError(f"{refused} of {len(files)} files were refused")


@app.command("list")
def list_scenes(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List registered scenes."""
    with connect() as client:
        found = list(client.pages("/scenes", most=limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ("KEY", "PIXELS", "GSD M", "KM2", "BANDS", "TAKEN"),
        [
            (
                scene["key"],
                f"{scene['width_px']} x {scene['height_px']}",
                scene["gsd_m"],
                scene["area_km2"],
                [band["common_name"] or band["name"] for band in scene["bands"]],
                moment(scene["start_at"]),
            )
            for scene in found
        ],
        empty="no scenes yet: add some with `constellation scenes add PATH`",
    )


@app.command()
def show(
    reference: Annotated[str, typer.Argument(help="A scene's key or id.")],
    as_json: JsonFlag = False,
) -> None:
    """Show a scene."""
    with connect() as client:
        scene = client.get(f"/scenes/{segment(reference)}")
    if as_json:
        print_json(scene)
        return
    bands = [
        f"{band['index']} {band['common_name'] or band['name']} {band['dtype']}"
        for band in scene["bands"]
    ]
    print_facts(
        {
            "key": scene["key"],
            "id": scene["id"],
            "file": scene["uri"],
            "digest": scene["digest"],
            "pixels": f"{scene['width_px']} x {scene['height_px']}",
            "pixel size": f"{scene['gsd_m']:.3g} m",
            "area": f"{scene['area_km2']:,.1f} km2",
            "bands": bands,
            "no data": scene["nodata"],
            "clouds by": clouds_by(scene["quality"]),
            "taken": moment(scene["start_at"]),
            "registered": moment(scene["created_at"]),
        }
    )


def mask_of(
    path: Path | None, kind: QualityKind | None, band: int, files: list[str]
) -> dict[str, Any]:
    """The quality mask in a request. Raises InvalidInput for half of one."""
    if path is None or kind is None:
        raise InvalidInput("--quality and --quality-kind belong together")
    if len(files) != 1:
        raise InvalidInput("--quality is of one scene: give it with one file")
    place = path.absolute() if path.exists() else path
    return {"path": str(place), "kind": kind.value, "index": band}


def clouds_by(mask: dict[str, Any] | None) -> str | None:
    """Where a scene's quality mask is."""
    return None if mask is None else f"{mask['kind']}, band {mask['index']} of {mask['uri']}"


def rasters(places: Iterable[str]) -> Iterable[str]:
    """URLs as they are, absolute paths of files; folders stand for the rasters in them."""
    for place in places:
        path = Path(place)
        if "://" in place:
            yield place
        elif path.is_dir():
            yield from sorted(
                str(found.absolute())
                for found in path.iterdir()
                if found.suffix.lower() in SUFFIXES
            )
        else:
            yield str(path.absolute() if path.exists() else path)


def register(
    client: Client, files: list[str], request: dict[str, Any], *, quiet: bool
) -> Iterable[dict[str, Any]]:
    """Register files one by one, with a progress bar and a line for each."""
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("registering", total=len(files))
        for path in files:
            result = register_one(client, path, request)
            yield result
            if not quiet:
                line = Text(line_of(result))
                progress.console.print(line, highlight=False, soft_wrap=True)
            progress.advance(task)


def register_one(client: Client, place: str, request: dict[str, Any]) -> dict[str, Any]:
    """Register one file; a refusal is a result, an API that is away is not."""
    where = "url" if "://" in place else "path"
    try:
        scene = client.post("/scenes", request | {where: place})
    except ServiceUnavailable:
        raise
    except ConstellationError as error:
        return {"path": place, "refused": error.message}
    return {"path": place, "scene": scene}


def line_of(result: dict[str, Any]) -> str:
    """What became of one file."""
    if "refused" in result:
        return printable(f"refused {result['path']}: {result['refused']}")
    scene = result["scene"]
    bands = ",".join(band["common_name"] or band["name"] for band in scene["bands"])
    size = f"{scene['width_px']} x {scene['height_px']} px, {scene['gsd_m']:.3g} m"
    return printable(f"added {scene['key']}: {size}, {scene['area_km2']:,.1f} km2, {bands}")
