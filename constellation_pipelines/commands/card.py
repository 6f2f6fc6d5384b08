"""`constellation models init`: write a card beside weights."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from constellation_pipelines.domain.card import CLASSIFIES, FORMATS, parse_card
from constellation_pipelines.domain.card_template import Draft, document_of
from constellation_pipelines.domain.errors import Conflict, InvalidInput, NotFound
from constellation_pipelines.domain.model import InputUnit, Task


def init(
    path: Annotated[Path, typer.Argument(help="Folder that holds the weights.", metavar="PATH")],
    name: Annotated[str, typer.Option(help="The model's name.")],
    bands: Annotated[str, typer.Option(help="Common names in the network's order: red,green,nir.")],
    chip_px: Annotated[int, typer.Option(help="Side of the chips.")],
    gsd_m: Annotated[str, typer.Option(help="Range of pixel sizes in metres: 5,20.")],
    classes: Annotated[
        str, typer.Option(help="Names of the classes in the order of the outputs: water,land.")
    ] = "",
    length: Annotated[int, typer.Option(help="Length of an embedding.")] = 0,
    task: Annotated[Task, typer.Option(help="What the network makes of a chip.")] = (
        Task.SCENE_CLASSIFICATION
    ),
    version: Annotated[str, typer.Option(help="The model's version.")] = "1",
    architecture: Annotated[
        str | None, typer.Option(help="For safetensors: resnet18, ..., timm:<name>.")
    ] = None,
    options: Annotated[
        str, typer.Option(help="More options of the architecture: width=16,depth=4.")
    ] = "",
    halo_px: Annotated[int, typer.Option(help="Border of a dense model's chips to drop.")] = 0,
    input_unit: Annotated[
        InputUnit, typer.Option(help="What the input is before mean and deviation.")
    ] = InputUnit.DISPLAY,
    mean: Annotated[str, typer.Option(help="Per band, or one for all: 0.34,0.38,0.41.")] = "0",
    std: Annotated[str, typer.Option(help="Per band, or one for all.")] = "1",
    reflectance_white: Annotated[
        float, typer.Option(help="The reflectance that becomes 1 of input unit display.")
    ] = 0.3,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a card.")] = False,
) -> None:
    """Write model.json beside weights, from what you say of the model; then edit it."""
    from constellation_pipelines.inference.package import CARD_FILE, file_sha256

    weights = weights_in(path)
    card = path / CARD_FILE
    if card.exists() and not force:
        raise Conflict(f"{card} is there already; --force overwrites it")
    listed = words(bands)
    draft = Draft(
        name=name,
        version=version,
        task=task,
        bands=listed,
        outputs=outputs_of(task, words(classes), length),
        chip_px=chip_px,
        halo_px=halo_px,
        gsd_m=pair(gsd_m),
        mean=numbers(mean, len(listed), "--mean"),
        std=numbers(std, len(listed), "--std"),
        input_unit=input_unit,
        reflectance_white=reflectance_white,
        architecture=architecture,
        options=options_of(options),
        weights_file=weights.name,
        weights_format=FORMATS[weights.suffix],
        weights_sha256=file_sha256(weights),
        weights_bytes=weights.stat().st_size,
    )
    document = document_of(draft, datetime.now(UTC))
    parse_card(document)
    card.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(f"wrote {card}; check it with: constellation models check {path}")


def weights_in(folder: Path) -> Path:
    """The one file of weights in a folder. Raises NotFound or Conflict where it is not one."""
    found = [path for path in sorted(folder.glob("*")) if path.suffix in FORMATS]
    if not found:
        raise NotFound(f"{folder} holds no weights: a file that ends in {', '.join(FORMATS)}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise Conflict(f"{folder} holds more than one file of weights: {names}")
    return found[0]


def outputs_of(task: Task, classes: list[str], length: int) -> list[str] | int:
    """Classes' names, or how many numbers an output has. Raises InvalidInput for the wrong one."""
    if task in CLASSIFIES:
        if not classes:
            raise InvalidInput(f"{task.value} needs the names of its classes: --classes a,b,c")
        return classes
    if task is Task.EMBEDDING and length < 1:
        raise InvalidInput(f"{task.value} needs the length of its vectors: --length 512")
    return length if task is Task.EMBEDDING else 1


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str, count: int, option: str) -> list[float]:
    """As many numbers as there are bands; one stands for all. Raises InvalidInput otherwise."""
    try:
        found = [float(word) for word in words(text)]
    except ValueError as error:
        raise InvalidInput(f"{option} must be numbers with commas between them") from error
    if len(found) not in (1, count):
        raise InvalidInput(f"{option} must be one number, or {count}: one per band")
    return found * count if len(found) == 1 else found


def options_of(text: str) -> dict[str, int]:
    """Names and whole numbers: width=16,depth=4. Raises InvalidInput for anything else."""
    found = {}
    for word in words(text):
        name, _, value = word.partition("=")
        if not name or not value.isascii() or not value.isdecimal():
            raise InvalidInput("--options must be of the form name=number,name=number")
        found[name] = int(value)
    return found


def pair(text: str) -> tuple[float, float]:
    """Two numbers, or one for both. Raises InvalidInput otherwise."""
    low, high = numbers(text, 2, "--gsd-m")
    return low, high
