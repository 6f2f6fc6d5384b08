"""A model package's card: STAC Item with the MLM extension -> ModelCard, everything checked.

The card comes with the model, so nothing in it is trusted: each value is checked for type and range
before anything is done with it, and the refusal names the field.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from constellation_pipelines.domain.card_input import read_bands, read_scaling
from constellation_pipelines.domain.field import Field
from constellation_pipelines.domain.model import (
    GsdPolicy,
    InputUnit,
    ModelCard,
    ModelClass,
    Task,
    Vectors,
    WeightsFormat,
)

NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
VERSION = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,30}[0-9A-Za-z])?")
FILE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}")
WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z_. /-]{0,63}")
ARCHITECTURE = re.compile(r"(timm:)?[0-9A-Za-z][0-9A-Za-z_.-]{0,99}")
UNIT = re.compile(r"[0-9A-Za-z%°µ][0-9A-Za-z%°µ²³ */^.-]{0,31}")
COLOUR = re.compile(r"[0-9A-Fa-f]{6}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MULTIHASH_SHA256 = "1220"  # how the STAC file extension writes that a checksum is a sha256
LARGEST_CHIP_PX = 4096
LONGEST_EMBEDDING = 4096
CLASSIFIES = (Task.SCENE_CLASSIFICATION, Task.SEGMENTATION)
FORMATS = {f".{kind.value}": kind for kind in WeightsFormat}

Choice = TypeVar("Choice", bound=StrEnum)


def parse_card(document: object) -> ModelCard:
    """The card in a package's `model.json`. Raises ModelRefused, pointing at the field at fault."""
    item = Field(document, "")
    if item["type"].value != "Feature":
        raise item["type"].refused("must be 'Feature': a card is a STAC Item")
    properties = item["properties"]
    task = _task(properties)
    inputs = properties["mlm:input"].items(1, 1)[0]
    output = properties["mlm:output"].items(1, 1)[0]
    unit = _choice(properties, "constellation:input_unit", InputUnit, InputUnit.DISPLAY)
    bands = read_bands(inputs["bands"], properties.get("bands"))
    mean, std = read_scaling(inputs.get("value_scaling"), len(bands), unit)
    chip_px = properties["constellation:chip_px"].integer(8, LARGEST_CHIP_PX)
    _check_shape(inputs["input"]["shape"], [-1, len(bands), chip_px, chip_px])
    classes = _classes(output["classification:classes"]) if task in CLASSIFIES else ()
    channels = _channels(output["result"]["shape"], task, classes, chip_px)
    gsd_min_m = properties["constellation:gsd_min_m"].number(0.001, 1e6)
    gsd_max_m = properties["constellation:gsd_max_m"].number(gsd_min_m, 1e6)
    weights = item["assets"]["weights"]
    weights_file, weights_format = _weights_file(weights["href"])
    architecture, options = _architecture(properties, weights_format)
    gsd_policy, gsd_m = _gsd(properties, gsd_min_m, gsd_max_m)
    return ModelCard(
        name=properties["mlm:name"].text(NAME),
        version=properties["version"].text(VERSION),
        architecture=architecture,
        architecture_options=options,
        task=task,
        bands=bands,
        mean=mean,
        std=std,
        reflectance_white=_reflectance_white(properties, unit),
        chip_px=chip_px,
        halo_px=_halo(properties["constellation:halo_px"], task, chip_px),
        gsd_min_m=gsd_min_m,
        gsd_max_m=gsd_max_m,
        classes=classes,
        channels=channels,
        weights_file=weights_file,
        weights_sha256=_sha256(weights["file:checksum"]),
        weights_format=weights_format,
        input_unit=unit,
        unit=_unit(properties, task),
        gsd_policy=gsd_policy,
        gsd_m=gsd_m,
        scores=_scores(properties, task),
        vectors=_vectors(properties, task, classes),
    )


def _task(properties: Field) -> Task:
    (task,) = properties["mlm:tasks"].items(1, 1)
    return Task(task.one_of(tuple(Task)))


def _choice(properties: Field, name: str, kind: type[Choice], default: Choice) -> Choice:
    field = properties.get(name)
    return default if field is None else kind(field.one_of(tuple(kind)))


def _check_shape(field: Field, expected: list[int]) -> None:
    if field.value != expected:
        raise field.refused(f"must be {expected}, as the card's bands, chips and classes say")


def _channels(field: Field, task: Task, classes: tuple[ModelClass, ...], chip_px: int) -> int:
    """The numbers per output; the shape must be the one that the task, classes and chips give."""
    if task is Task.EMBEDDING:
        batch, length = field.items(2, 2)
        batch.integer(-1, -1)
        return length.integer(1, LONGEST_EMBEDDING)
    channels = len(classes) if task in CLASSIFIES else 1
    dense = task is not Task.SCENE_CLASSIFICATION
    _check_shape(field, [-1, channels, *([chip_px, chip_px] if dense else [])])
    return channels


def _classes(field: Field) -> tuple[ModelClass, ...]:
    """Classes in the order of the network's outputs; value 255 is kept for `nothing here`."""
    classes = tuple(
        ModelClass(
            value=member["value"].integer(0, 254),
            name=member["name"].text(WORD),
            color=f"#{member['color_hint'].text(COLOUR).lower()}",
        )
        for member in field.items(2, 255)
    )
    for name in ("value", "name"):
        if len({getattr(found, name) for found in classes}) < len(classes):
            raise field.refused(f"has a {name} twice")
    return classes


def _architecture(properties: Field, kind: WeightsFormat) -> tuple[str | None, dict[str, Any]]:
    """Name and options. A graph needs none, so what a card says of its own is for people only."""
    if kind is not WeightsFormat.SAFETENSORS:
        return None, {}
    name = properties["mlm:architecture"].text(ARCHITECTURE)
    return name, _options(properties["constellation:architecture_options"])


def _options(field: Field) -> dict[str, Any]:
    """Numbers and short texts by name; what they mean is the architecture's business."""
    if not isinstance(field.value, dict) or len(field.value) > 32:
        raise field.refused("must be an object of at most 32 options")
    for name, value in field.value.items():
        option = Field(value, f"{field.at}.{name}")
        if isinstance(value, str):
            option.text(WORD)
        else:
            option.number(-1e9, 1e9)
    return dict(field.value)


def _halo(field: Field, task: Task, chip_px: int) -> int:
    if task in (Task.SCENE_CLASSIFICATION, Task.EMBEDDING):
        if field.integer(0, LARGEST_CHIP_PX) != 0:
            raise field.refused("must be 0: an answer for a whole chip has no border to drop")
        return 0
    return field.integer(0, (chip_px - 1) // 2)  # something of a chip must be left


def _gsd(properties: Field, low_m: float, high_m: float) -> tuple[GsdPolicy, float | None]:
    """What becomes of other pixel sizes, and the size to resample to."""
    policy = _choice(properties, "constellation:gsd_policy", GsdPolicy, GsdPolicy.REFUSE)
    needed = policy is GsdPolicy.RESAMPLE
    own = properties["constellation:gsd_m"] if needed else properties.get("constellation:gsd_m")
    return policy, None if own is None else own.number(low_m, high_m)


def _reflectance_white(properties: Field, unit: InputUnit) -> float:
    """What becomes 1 of a reflectance; of no meaning where the input is not 0..1."""
    name = "constellation:reflectance_white"
    field = properties[name] if unit is InputUnit.DISPLAY else properties.get(name)
    return 1.0 if field is None else field.number(0.001, 10)


def _only_for(
    properties: Field, name: str, task: Task, tasks: tuple[Task, ...], why: str
) -> Field | None:
    """A member that only these tasks may have."""
    field = properties.get(name)
    if field is not None and task not in tasks:
        raise field.refused(f"is not for {task.value}: {why}")
    return field


def _unit(properties: Field, task: Task) -> str | None:
    why = "only a regression's numbers have a unit"
    field = _only_for(properties, "constellation:unit", task, (Task.REGRESSION,), why)
    return None if field is None else field.text(UNIT)


def _scores(properties: Field, task: Task) -> bool:
    why = "only classes have a probability"
    field = _only_for(properties, "constellation:scores", task, CLASSIFIES, why)
    return False if field is None else field.boolean()


def _vectors(properties: Field, task: Task, classes: tuple[ModelClass, ...]) -> Vectors | None:
    why = "polygons are made of classes"
    field = _only_for(properties, "constellation:vectors", task, CLASSIFIES, why)
    if field is None:
        return None
    known = {found.value for found in classes}
    values = _unique(field["values"], 1, 255, lambda member: member.integer(0, 254))
    if not known.issuperset(values):
        raise field["values"].refused("must be values of the card's classes")
    area = field.get("min_area_m2")
    return Vectors(values, 0.0 if area is None else area.number(0, 1e12))


def _unique(field: Field, least: int, most: int, read: Callable[[Field], int]) -> tuple[int, ...]:
    values = tuple(read(member) for member in field.items(least, most))
    if len(set(values)) < len(values):
        raise field.refused("has a value twice")
    return values


def _weights_file(field: Field) -> tuple[str, WeightsFormat]:
    """A file beside the card: no folder, no link, in a format that carries no code."""
    name = field.text(FILE)
    for suffix, kind in FORMATS.items():
        if name.endswith(suffix):
            return name, kind
    raise field.refused(
        f"must name a file that ends in {', '.join(FORMATS)}; formats that can carry code are "
        "never loaded"
    )


def _sha256(field: Field) -> str:
    """The hexadecimal digest in a multihash checksum."""
    text = field.value if isinstance(field.value, str) else ""
    digest = text.removeprefix(MULTIHASH_SHA256)
    if not text.startswith(MULTIHASH_SHA256) or not SHA256.fullmatch(digest):
        raise field.refused(
            f"must be '{MULTIHASH_SHA256}' and a sha256 in 64 lower-case hex digits"
        )
    return digest
