"""Does a scene suit a model? Decided before any device is touched."""

import math
from dataclasses import dataclass
from enum import StrEnum

from constellation_pipelines.domain.errors import SceneUnfit
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.scene import Band, Grid, Scene


class Radiometry(StrEnum):
    """What a band's stored values mean."""

    TRUE_COLOUR = "true colour"  # 8-bit values made for the eye, 255 is white
    REFLECTANCE = "reflectance"  # stored value * scale + offset


@dataclass(frozen=True, slots=True)
class Fit:
    """The scene's bands in the model's order. `gsd_mismatch`: outside the range, but accepted.

    Tiles and chips are cut in `grid`: the scene's own, or where `resampled` one of the same CRS and
    extent with pixels of the model's size.
    """

    bands: tuple[Band, ...]
    gsd_mismatch: bool
    grid: Grid
    resampled: bool = False


def fit(scene: Scene, card: ModelCard, *, accept_gsd_mismatch: bool) -> Fit:
    """How the model takes the scene. Raises SceneUnfit with the first reason why it cannot."""
    bands = _select_bands(scene, card)
    _check_radiometry(scene, bands)
    mismatch = not card.gsd_min_m <= scene.gsd_m <= card.gsd_max_m
    if mismatch and not accept_gsd_mismatch:
        raise SceneUnfit(
            f"scene {scene.key} has a pixel size of {scene.gsd_m:.3g} m; {card.reference} takes "
            f"{card.gsd_min_m:g} to {card.gsd_max_m:g} m. Set accept_gsd_mismatch to run it all "
            "the same; its results will say so",
            field="accept_gsd_mismatch",
        )
    return Fit(bands, mismatch, scene.grid)


def treatment(fitted: Fit, max_cloud_fraction: float | None = None) -> tuple[object, ...]:
    """What decides a tile's result beside scene, model and window; () where nothing does."""
    grid = fitted.grid
    resampled = (["grid", grid.width_px, grid.height_px],) if fitted.resampled else ()
    masked = (["clouds", max_cloud_fraction],) if max_cloud_fraction is not None else ()
    return (*resampled, *masked)


def radiometry(band: Band) -> Radiometry | None:
    """What the band's values mean, or None where nobody has said.

    A scale of 1 without offset is what drivers report for whole numbers nobody has calibrated.
    """
    whole = "int" in band.dtype
    if band.scale is not None and not (whole and band.scale == 1 and not band.offset):
        return Radiometry.REFLECTANCE
    return Radiometry.TRUE_COLOUR if band.dtype == "uint8" else None


def _select_bands(scene: Scene, card: ModelCard) -> tuple[Band, ...]:
    found = {band.name: scene.band(band.common_name or band.name) for band in card.bands}
    missing = [name for name, band in found.items() if band is None]
    if missing:
        has = ", ".join(band.common_name or band.name for band in scene.bands)
        raise SceneUnfit(
            f"scene {scene.key} has no band {', '.join(missing)}, which {card.reference} needs; "
            f"it has: {has}",
            field="scenes",
        )
    return tuple(band for band in found.values() if band is not None)


def _check_radiometry(scene: Scene, bands: tuple[Band, ...]) -> None:
    kinds = set()
    for band in bands:
        if "complex" in band.dtype:
            raise SceneUnfit(
                f"band {band.name} of scene {scene.key} holds complex numbers; "
                "register an amplitude or reflectance raster instead",
                field="scenes",
            )
        if not math.isfinite(band.scale or 0) or not math.isfinite(band.offset or 0):
            raise SceneUnfit(
                f"band {band.name} of scene {scene.key} has a scale or offset that is no number; "
                "register the scene again",
                field="scenes",
            )
        kinds.add(radiometry(band))
        if None in kinds or band.scale == 0:
            raise SceneUnfit(
                f"band {band.name} of scene {scene.key} holds {band.dtype} values of unknown "
                "meaning; register the scene again with --scale and --offset, or with a STAC Item "
                "beside it, so that value * scale + offset is reflectance",
                field="scenes",
            )
    if len(kinds) > 1:
        raise SceneUnfit(
            f"scene {scene.key} mixes bands of true colour with bands of reflectance; "
            "register it again with one meaning for all bands",
            field="scenes",
        )
