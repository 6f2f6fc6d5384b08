"""What the bands of well-known instruments are.

Names of bands mean nothing without the instrument: B4 is red on Landsat 8, near infrared on 7.
Wavelengths are centres in micrometres, of Sentinel-2A, OLI and TIRS, ETM+ and TM; their sisters
differ by a few nanometres.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple


class Known(NamedTuple):
    """A band of an instrument."""

    common_name: str
    wavelength_um: float


SENTINEL_2 = {
    "B1": Known("coastal", 0.443), "B2": Known("blue", 0.492), "B3": Known("green", 0.560),
    "B4": Known("red", 0.665), "B5": Known("rededge071", 0.704), "B6": Known("rededge075", 0.741),
    "B7": Known("rededge078", 0.783), "B8": Known("nir", 0.833), "B8A": Known("nir08", 0.865),
    "B9": Known("nir09", 0.945), "B10": Known("cirrus", 1.374), "B11": Known("swir16", 1.614),
    "B12": Known("swir22", 2.202),
}  # fmt: skip
LANDSAT_8 = {
    "B1": Known("coastal", 0.443), "B2": Known("blue", 0.482), "B3": Known("green", 0.561),
    "B4": Known("red", 0.655), "B5": Known("nir08", 0.865), "B6": Known("swir16", 1.609),
    "B7": Known("swir22", 2.201), "B8": Known("pan", 0.590), "B9": Known("cirrus", 1.373),
    "B10": Known("lwir11", 10.895), "B11": Known("lwir12", 12.005),
}  # fmt: skip
LANDSAT_7 = {
    "B1": Known("blue", 0.483), "B2": Known("green", 0.560), "B3": Known("red", 0.662),
    "B4": Known("nir08", 0.835), "B5": Known("swir16", 1.648), "B6": Known("lwir", 11.335),
    "B7": Known("swir22", 2.206), "B8": Known("pan", 0.706),
}  # fmt: skip
LANDSAT_5 = {
    "B1": Known("blue", 0.485), "B2": Known("green", 0.569), "B3": Known("red", 0.660),
    "B4": Known("nir08", 0.840), "B5": Known("swir16", 1.676), "B6": Known("lwir", 11.435),
    "B7": Known("swir22", 2.223),
}  # fmt: skip
PLATFORMS = {
    "sentinel-2": SENTINEL_2,
    "landsat-8": LANDSAT_8,
    "landsat-9": LANDSAT_8,
    "landsat-7": LANDSAT_7,
    "landsat-5": LANDSAT_5,
    "landsat-4": LANDSAT_5,
}
# B4, B04 and OLI_B4 are the same band.
NAME = re.compile(r"(?:[A-Z]{2,4}_)?B0?(\d{1,2}A?)")

Bands = Mapping[str, Known]


def bands_of(platform: str | None) -> Bands:
    """The bands of a platform by name; empty where it is not known."""
    text = (platform or "").lower()
    return next((bands for start, bands in PLATFORMS.items() if text.startswith(start)), {})


def find(bands: Bands, name: str | None, common_name: str | None) -> Known | None:
    """The band of this name, else of this common name."""
    match = NAME.fullmatch((name or "").upper())
    if match is not None and (found := bands.get(f"B{match[1]}")) is not None:
        return found
    return next((band for band in bands.values() if band.common_name == common_name), None)
