"""Land cover guessed from spectral indices: labels to train on where nobody has mapped the ground.

They are not ground truth. Near infrared decides most of them, and a network that is given red,
green and blue alone must find from colour, texture and surroundings what near infrared tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.fit import Radiometry, radiometry
from constellation_pipelines.domain.scene import Band, Scene
from constellation_pipelines.inference.package import file_sha256

CLASSES = ("Water", "Vegetation", "BareOrBuilt", "SnowOrCloud")
UNLABELLED = 255
INPUTS = ("red", "green", "blue")
NEAR_INFRARED = ("nir", "nir08")
LARGEST_SCENE_PX = 64_000_000
# Each pair: what is surely so, and what is surely not; between them a pixel has no label.
WATER_NDWI = (0.3, 0.15)
VEGETATION_NDVI = (0.2, 0.1)
BRIGHT = (0.45, 0.2)  # reflectance of the darkest of red, green and blue
# White pixels that are as bright as 8 bits go are often where a mosaic has nothing.
SATURATED = 255
RIM_PX = 4

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelledScene:
    """A scene's red, green and blue in 0..1 (3, h, w), and a class or 255 per pixel (h, w).

    `sha256` is the raster file's.
    """

    name: str
    sha256: str
    gsd_m: float
    values: Values
    labels: NDArray[np.uint8]


def label(values: Mapping[str, Values], *, calibrated: bool) -> NDArray[np.uint8]:
    """Index into CLASSES per pixel, UNLABELLED where the indices are not clear.

    `values` holds red, green, blue and nir. Only reflectance (`calibrated`) says how bright a pixel
    is: of other values, none is taken for snow or cloud.
    """
    red, green, blue, nir = (values[name] for name in (*INPUTS, "nir"))
    ndvi, ndwi = index(nir, red), index(green, nir)
    darkest = np.minimum(np.minimum(red, green), blue)
    clear = darkest <= BRIGHT[1] if calibrated else np.full(red.shape, True)
    dry = ndwi <= WATER_NDWI[1]
    labels = np.full(red.shape, UNLABELLED, np.uint8)
    labels[clear & (ndwi >= WATER_NDWI[0])] = CLASSES.index("Water")
    labels[clear & dry & (ndvi >= VEGETATION_NDVI[0])] = CLASSES.index("Vegetation")
    labels[clear & dry & (ndvi <= VEGETATION_NDVI[1])] = CLASSES.index("BareOrBuilt")
    if calibrated:
        labels[darkest >= BRIGHT[0]] = CLASSES.index("SnowOrCloud")
    return labels


def index(one: Values, other: Values) -> Values:
    """Normalised difference, -1..1; 0 where both are dark."""
    total = one + other
    result = np.zeros_like(total)
    np.divide(one - other, total, out=result, where=np.abs(total) > 1e-3)
    return result


def read_scene(scene: Scene, reflectance_white: float) -> LabelledScene:
    """Label a scene and bring its colours to 0..1 as the engine will.

    Raises InvalidInput for a scene without the bands, or too large to be held at once.
    """
    from constellation_pipelines.imagery.raster import open_raster

    bands = wanted(scene)
    if bands is None:
        raise InvalidInput(f"scene {scene.key} lacks red, green, blue or near infrared")
    if scene.grid.width_px * scene.grid.height_px > LARGEST_SCENE_PX:
        raise InvalidInput(f"scene {scene.key} is larger than {LARGEST_SCENE_PX} pixels")
    with open_raster(Path(scene.uri)) as dataset:
        stored = dataset.read([band.index for band in bands.values()])
    valid = holds_data(stored, scene.nodata)
    calibrated = all(radiometry(band) is not Radiometry.TRUE_COLOUR for band in bands.values())
    physical = {name: physical_of(stored[i], band) for i, (name, band) in enumerate(bands.items())}
    labels = label(physical, calibrated=calibrated)
    labels[~valid] = UNLABELLED
    white = reflectance_white if calibrated else 1.0
    values = np.stack([np.clip(physical[name] / white, 0, 1) for name in INPUTS])
    hole = missing(stored, scene.nodata)
    if hole.any() and valid.any():  # as the engine fills them
        values[:, hole] = values[:, valid].mean(1, keepdims=True)
    return LabelledScene(scene.key, file_sha256(Path(scene.uri)), scene.gsd_m, values, labels)


def wanted(scene: Scene) -> dict[str, Band] | None:
    """Red, green, blue and nir of a scene, None where one is missing."""
    colours = {name: scene.band(name) for name in INPUTS}
    infrared = [band for name in NEAR_INFRARED if (band := scene.band(name)) is not None]
    found = {name: band for name, band in colours.items() if band is not None}
    return {**found, "nir": infrared[0]} if infrared and len(found) == len(INPUTS) else None


def physical_of(stored: NDArray[Any], band: Band) -> Values:
    """Reflectance, or 8-bit colour / 255."""
    if radiometry(band) is Radiometry.TRUE_COLOUR:
        return (stored / np.float32(255)).astype(np.float32)
    scale, offset = (1.0 if band.scale is None else band.scale), band.offset or 0.0
    return (stored * np.float32(scale) + np.float32(offset)).astype(np.float32)


def holds_data(stored: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Where a scene (bands, h, w) has data, without the rim of it and without specks in between.

    A pixel holds none where all bands are nodata, or white to the last bit; a logo that somebody
    put into the emptiness is a speck.
    """
    empty = missing(stored, nodata)
    if stored.dtype == np.uint8:
        empty |= (stored == SATURATED).all(0)
    kept = grow(~grow(empty, RIM_PX), RIM_PX)  # opened: what is thinner than a rim is gone
    return ~grow(~kept, RIM_PX)


def missing(stored: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Where every band (bands, h, w) holds the value that stands for no data."""
    if nodata is None:
        return np.zeros(stored.shape[1:], bool)
    found: NDArray[np.bool_] = (stored == nodata).all(0)
    return found


def grow(mask: NDArray[np.bool_], px: int) -> NDArray[np.bool_]:
    """The mask, and all pixels within so many of it to the sides and across."""
    for axis in (0, 1):
        grown = mask.copy()
        for step in range(1, px + 1):
            ahead, behind = shifted(mask.shape, axis, step)
            grown[ahead] |= mask[behind]
            grown[behind] |= mask[ahead]
        mask = grown
    return mask


def shifted(
    shape: Sequence[int], axis: int, step: int
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Two views of an array that are this many steps apart along an axis."""
    ahead = [slice(None)] * len(shape)
    behind = [slice(None)] * len(shape)
    ahead[axis], behind[axis] = slice(step, None), slice(None, max(shape[axis] - step, 0))
    return tuple(ahead), tuple(behind)
