"""What a card says of its network's input: which bands, and how their values are scaled."""

import re

from constellation_pipelines.domain.field import Field
from constellation_pipelines.domain.model import InputUnit, ModelBand

BAND = re.compile(r"[0-9A-Za-z][0-9A-Za-z_. /-]{0,63}")
MOST_BANDS = 64
MOST_WAVELENGTH_UM = 1e6  # radar's are centimetres
SCALINGS = ("z-score", "min-max", "offset", "scale")
Line = tuple[float, float]  # mean and std of (value - mean) / std


def read_bands(wanted: Field, described: Field | None) -> tuple[ModelBand, ...]:
    """The bands in the network's order; `properties.bands` tells more of those it lists.

    A band that is told neither common name nor wavelength goes by its own name.
    """
    known = {} if described is None else _described(described)
    names = tuple(_band_name(member) for member in wanted.items(1, MOST_BANDS))
    if len(set(names)) < len(names):
        raise wanted.refused("has a value twice")
    return tuple(known.get(name) or ModelBand(name, common_name=name) for name in names)


def _band_name(field: Field) -> str:
    """A band is a name, or an object with one. MLM's band expressions are not computed."""
    if not isinstance(field.value, dict):
        return field.text(BAND)
    for key in ("expression", "format"):
        if (extra := field.get(key)) is not None and extra.value is not None:
            raise extra.refused("is not supported: name the bands of the scene themselves")
    return field["name"].text(BAND)


def _described(field: Field) -> dict[str, ModelBand]:
    bands = {}
    for member in field.items(0, 256):
        name = member["name"].text(BAND)
        common = member.get("eo:common_name")
        wavelength = member.get("eo:center_wavelength")
        if name in bands:
            raise member["name"].refused("is there twice")
        if common is None and wavelength is None:
            bands[name] = ModelBand(name, common_name=name)
            continue
        bands[name] = ModelBand(
            name,
            None if common is None else common.text(BAND),
            None if wavelength is None else wavelength.number(0.001, MOST_WAVELENGTH_UM),
        )
    return bands


def read_scaling(
    field: Field | None, bands: int, unit: InputUnit
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per band; 0 and 1 where the card scales nothing.

    One scaling stands for all bands. Values of 0..1 have means in 0..1, which catches cards that
    give the figures of 8-bit values.
    """
    if field is None or field.value is None:
        return (0.0,) * bands, (1.0,) * bands
    single = isinstance(field.value, list) and len(field.value) == 1
    scalings = field.items(1, 1) * bands if single else field.items(bands, bands)
    shown = unit is InputUnit.DISPLAY
    lines = [_line(scaling, 0.0 if shown else -1e9, 1.0 if shown else 1e9) for scaling in scalings]
    return tuple(mean for mean, _ in lines), tuple(std for _, std in lines)


def _line(scaling: Field, low: float, high: float) -> Line:
    kind = scaling["type"].one_of(SCALINGS)
    if kind == "z-score":
        return scaling["mean"].number(low, high), scaling["stddev"].number(1e-6, high)
    if kind == "min-max":
        minimum = scaling["minimum"].number(low, high)
        maximum = scaling["maximum"].number(low, high)
        if maximum - minimum < 1e-6:
            raise scaling["maximum"].refused("must be greater than the minimum")
        return minimum, maximum - minimum
    if kind == "offset":
        return scaling["value"].number(low, high), 1.0
    return 0.0, scaling["value"].number(1e-6, high)
