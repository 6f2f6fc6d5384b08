"""A model package's card: STAC Item with the MLM extension -> ModelCard, everything checked.

The card comes with the model, so nothing in it is trusted: each value is checked for type and range
before anything is done with it, and the refusal names the field.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelBand, ModelCard, ModelClass, Task

TASKS = (Task.SCENE_CLASSIFICATION.value,)
NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
VERSION = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,30}[0-9A-Za-z])?")
FILE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}")
WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z_. /-]{0,63}")
COLOUR = re.compile(r"[0-9A-Fa-f]{6}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MULTIHASH_SHA256 = "1220"  # how the STAC file extension writes that a checksum is a sha256
LARGEST_CHIP_PX = 4096
WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the document and where it stands, such as `properties.mlm:input[0].bands`."""

    value: Any
    at: str

    def refused(self, reason: str) -> ModelRefused:
        """An error that points here."""
        return ModelRefused(f"{self.at or 'the card'} {reason}", field=self.at)

    def __getitem__(self, key: str) -> "Field":
        if not isinstance(self.value, dict):
            raise self.refused("must be an object")
        at = f"{self.at}.{key}" if self.at else key
        if key not in self.value:
            raise Field(None, at).refused("is missing")
        return Field(self.value[key], at)

    def items(self, least: int, most: int) -> list["Field"]:
        """The members of a list of `least` to `most` of them."""
        if not isinstance(self.value, list) or not least <= len(self.value) <= most:
            raise self.refused(f"must be a list of {least} to {most} values")
        return [Field(member, f"{self.at}[{i}]") for i, member in enumerate(self.value)]

    def text(self, pattern: re.Pattern[str]) -> str:
        """A string of this form."""
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self.refused(f"must be a text of the form {pattern.pattern}")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not whole or not low <= self.value <= high:
            raise self.refused(f"must be a whole number from {low} to {high}")
        return int(self.value)

    def number(self, low: float, high: float) -> float:
        """A finite number within [low, high]."""
        numeric = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not numeric or not math.isfinite(self.value) or not low <= self.value <= high:
            raise self.refused(f"must be a number from {low:g} to {high:g}")
        return float(self.value)

    def one_of(self, choices: tuple[str, ...]) -> str:
        """One of these strings."""
        if not isinstance(self.value, str) or self.value not in choices:
            raise self.refused(f"must be one of: {', '.join(choices)}")
        return self.value


def parse_card(document: object) -> ModelCard:
    """The card in a package's `model.json`. Raises ModelRefused, pointing at the field at fault."""
    item = Field(document, "")
    if item["type"].value != "Feature":
        raise item["type"].refused("must be 'Feature': a card is a STAC Item")
    properties = item["properties"]
    tasks = [task.one_of(TASKS) for task in properties["mlm:tasks"].items(1, 1)]
    inputs = properties["mlm:input"].items(1, 1)[0]
    outputs = properties["mlm:output"].items(1, 1)[0]
    bands = _unique(inputs["bands"], 1, 64, lambda band: band.text(WORD))
    mean, std = _standardisation(inputs["value_scaling"], len(bands))
    chip_px = properties["constellation:chip_px"].integer(8, LARGEST_CHIP_PX)
    _check_shape(inputs["input"]["shape"], [-1, len(bands), chip_px, chip_px])
    classes = _classes(outputs["classification:classes"])
    _check_shape(outputs["result"]["shape"], [-1, len(classes)])
    gsd_min_m = properties["constellation:gsd_min_m"].number(0.001, 1e6)
    weights = item["assets"]["weights"]
    return ModelCard(
        name=properties["mlm:name"].text(NAME),
        version=properties["version"].text(VERSION),
        architecture=properties["mlm:architecture"].text(WORD),
        architecture_options=_options(properties["constellation:architecture_options"]),
        task=Task(tasks[0]),
        bands=tuple(ModelBand(name, common_name=name) for name in bands),
        mean=mean,
        std=std,
        reflectance_white=properties["constellation:reflectance_white"].number(0.001, 10),
        chip_px=chip_px,
        halo_px=_halo(properties["constellation:halo_px"]),
        gsd_min_m=gsd_min_m,
        gsd_max_m=properties["constellation:gsd_max_m"].number(gsd_min_m, 1e6),
        classes=classes,
        channels=len(classes),
        weights_file=_weights_file(weights["href"]),
        weights_sha256=_sha256(weights["file:checksum"]),
    )


def _unique(field: Field, least: int, most: int, read: Callable[[Field], str]) -> tuple[str, ...]:
    values = tuple(read(member) for member in field.items(least, most))
    if len(set(values)) < len(values):
        raise field.refused("has a value twice")
    return values


def _standardisation(field: Field, bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scalings = field.items(bands, bands)
    for scaling in scalings:
        scaling["type"].one_of(("z-score",))
    mean = tuple(scaling["mean"].number(0, 1) for scaling in scalings)
    return mean, tuple(scaling["stddev"].number(1e-6, 1) for scaling in scalings)


def _check_shape(field: Field, expected: list[int]) -> None:
    if field.value != expected:
        raise field.refused(f"must be {expected}, as the card's bands, chips and classes say")


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


def _halo(field: Field) -> int:
    if field.integer(0, LARGEST_CHIP_PX) != 0:
        raise field.refused("must be 0: a network that names whole chips has no border to drop")
    return 0


def _weights_file(field: Field) -> str:
    """A file beside the card: no folder, no link, and a format that holds numbers only."""
    name = field.text(FILE)
    if not name.endswith(WEIGHTS_SUFFIX):
        raise field.refused(
            f"must name a {WEIGHTS_SUFFIX} file; formats that can carry code are never loaded"
        )
    return name


def _sha256(field: Field) -> str:
    """The hexadecimal digest in a multihash checksum."""
    text = field.value if isinstance(field.value, str) else ""
    digest = text.removeprefix(MULTIHASH_SHA256)
    if not text.startswith(MULTIHASH_SHA256) or not SHA256.fullmatch(digest):
        raise field.refused(
            f"must be '{MULTIHASH_SHA256}' and a sha256 in 64 lower-case hex digits"
        )
    return digest
