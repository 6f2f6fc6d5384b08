"""What a raster's bands are: told by a caller, a STAC Item, the file's descriptions or colours."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.imagery.platforms import Known, bands_of, find
from constellation_pipelines.imagery.side_item import MAX_WAVELENGTH_UM, ItemBand, SideItem

COMMON_NAMES = frozenset(
    "pan coastal blue green green05 yellow red rededge rededge071 rededge075 rededge078 nir nir08 "
    "nir09 cirrus swir16 swir22 lwir lwir11 lwir12".split()
)
SYNONYMS = {"swir1": "swir16", "swir2": "swir22", "grey": "pan", "panchromatic": "pan"}
COLOURS = frozenset(("red", "green", "blue"))
NAME = re.compile(r"[\w .:/()-]{1,64}")
UNNAMED = ("", "-")

# How files that were made from ENVI's say in which unit a band's wavelength is.
UM_PER_UNIT = {"micrometers": 1.0, "um": 1.0, "nanometers": 1e-3, "nm": 1e-3}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scale and offset that a caller gives for all bands; None where he says nothing."""

    scale: float | None = None
    offset: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if value is not None and not math.isfinite(value):
                raise SceneRefused(f"the {name} must be a finite number", field=name)
        if self.scale == 0:
            raise SceneRefused("the scale must not be 0", field="scale")


def describe_bands(
    dataset: Any,
    *,
    names: Sequence[str] | None = None,
    item: SideItem | None = None,
    calibration: Calibration = Calibration(),
) -> tuple[Band, ...]:
    """The bands of an open dataset in the file's order. `names` wins over all other sources.

    Raises SceneRefused when names or Item do not fit the file.
    """
    bands = _from_file(dataset)
    if item is not None and item.bands:
        bands = _from_item(bands, item)
    if names is not None:
        bands = _from_names(bands, names)
        _check_unique(bands)
    return tuple(_calibrate(band, calibration) for band in _without_twins(bands))


def _from_file(dataset: Any) -> list[Band]:
    descriptions = _descriptions(dataset)
    commons = [_common_in(text) for text in descriptions]
    if not any(commons):
        commons = _colours(dataset)
    bands = []
    for index, dtype in enumerate(dataset.dtypes):
        scale, offset = dataset.scales[index], dataset.offsets[index]
        known = math.isfinite(scale) and scale != 0 and math.isfinite(offset)
        # A driver reports 1 and 0 where the file says nothing.
        told = known and (scale, offset) != (1.0, 0.0)
        name = descriptions[index] or commons[index] or f"band {index + 1}"
        bands.append(
            Band(
                index=index + 1,
                name=name,
                common_name=commons[index],
                dtype=str(dtype),
                scale=float(scale) if told else None,
                offset=float(offset) if told else None,
                wavelength_um=_wavelength_um(dataset, index + 1),
            )
        )
    return bands


def _wavelength_um(dataset: Any, index: int) -> float | None:
    """The centre that the file states for a band, in GDAL's way or ENVI's; None for nonsense."""
    try:
        stated, plain = dataset.tags(index, ns="IMAGERY"), dataset.tags(index)
        text, unit = stated.get("CENTRAL_WAVELENGTH_UM"), 1.0
        if text is None:
            text = plain.get("wavelength")
            unit = UM_PER_UNIT[plain.get("wavelength_units", "").lower()]
        centre_um = float(text) * unit
    except (TypeError, KeyError, ValueError):  # ValueError: also bytes that are no text
        return None
    return centre_um if 0 < centre_um <= MAX_WAVELENGTH_UM else None


def _descriptions(dataset: Any) -> list[str]:
    try:
        return [_clean(text) for text in dataset.descriptions]
    except UnicodeDecodeError:  # written in some older encoding
        return [""] * int(dataset.count)


def _colours(dataset: Any) -> list[str | None]:
    try:
        names = [interpretation.name for interpretation in dataset.colorinterp]
    except ValueError:  # an interpretation newer than the library
        return [None] * dataset.count
    return [name if name in COLOURS else None for name in names]


def _from_item(bands: list[Band], item: SideItem) -> list[Band]:
    if len(item.bands) != len(bands):
        raise SceneRefused(
            f"{item.file_name} beside the raster describes {len(item.bands)} bands, the raster has "
            f"{len(bands)}: correct the Item, or remove it and name the bands with --bands"
        )
    platform = bands_of(item.platform)
    return [
        _told(band, told, find(platform, told.name, told.common_name))
        for band, told in zip(bands, item.bands, strict=True)
    ]


def _told(band: Band, told: ItemBand, known: Known | None) -> Band:
    """A band as the Item tells of it, or its platform."""
    common = told.common_name
    if known is not None and common in (None, "rededge"):  # which three of Sentinel-2's are
        common = known.common_name
    if common is None and told.name is None:
        common = band.common_name
    return replace(
        band,
        name=told.name or band.name,
        common_name=common,
        scale=band.scale if told.scale is None else told.scale,
        offset=band.offset if told.scale is None else told.offset,
        wavelength_um=told.wavelength_um
        or band.wavelength_um
        or (known.wavelength_um if known else None),
    )


def _from_names(bands: list[Band], names: Sequence[str]) -> list[Band]:
    if len(names) != len(bands):
        raise SceneRefused(
            f"{len(names)} band names for a raster of {len(bands)} bands: name each band in the "
            "order of the file, '-' for one without a name",
            field="bands",
        )
    return [_named(band, name.strip()) for band, name in zip(bands, names, strict=True)]


def _named(band: Band, name: str) -> Band:
    if name in UNNAMED:
        return replace(band, common_name=None)
    if not NAME.fullmatch(name):
        raise SceneRefused(
            "a band's name must have 1 to 64 letters, digits or . : / ( ) - _", field="bands"
        )
    lower = name.lower()
    common = SYNONYMS.get(lower, lower)
    contradicts = band.common_name not in (None, common)
    return replace(
        band,
        name=name,
        common_name=common if common in COMMON_NAMES else None,
        wavelength_um=None if contradicts else band.wavelength_um,
    )


def _check_unique(bands: Sequence[Band]) -> None:
    commons = [band.common_name for band in bands if band.common_name]
    twice = sorted({name for name in commons if commons.count(name) > 1})
    if twice:
        raise SceneRefused(
            f"more than one band is called {', '.join(twice)}: name the bands with --bands",
            field="bands",
        )


def _without_twins(bands: Sequence[Band]) -> list[Band]:
    """Common names that several bands have, as in hyperspectral scenes, name none of them.

    Such bands are found by their wavelengths.
    """
    commons = [band.common_name for band in bands]
    return [
        replace(band, common_name=None) if commons.count(band.common_name) > 1 else band
        for band in bands
    ]


def _calibrate(band: Band, given: Calibration) -> Band:
    if given.scale is None and given.offset is None:
        return band
    scale = given.scale if given.scale is not None else (band.scale or 1.0)
    offset = given.offset if given.offset is not None else (band.offset or 0.0)
    return replace(band, scale=scale, offset=offset)


def _common_in(description: str) -> str | None:
    """The one common name among the words of a description such as "B04 red"."""
    words = re.findall(r"[a-z0-9]+", description.lower())
    found = {SYNONYMS.get(word, word) for word in words} & COMMON_NAMES
    return found.pop() if len(found) == 1 else None


def _clean(text: str | None) -> str:
    """A description without what could forge lines or colours where it is printed."""
    printable = "".join(c for c in (text or "")[:200] if c.isprintable())
    return printable.strip()[:64]
