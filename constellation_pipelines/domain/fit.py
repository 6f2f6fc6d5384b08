"""Does a scene suit a model? Decided before any device is touched."""

import math
from dataclasses import dataclass
from enum import StrEnum

from constellation_pipelines.domain.band_choice import select_bands
from constellation_pipelines.domain.errors import SceneUnfit
from constellation_pipelines.domain.model import GsdPolicy, InputUnit, ModelCard
from constellation_pipelines.domain.resampling import resampled_grid
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


def fit(
    scene: Scene,
    card: ModelCard,
    *,
    accept_gsd_mismatch: bool,
    max_cloud_fraction: float | None = None,
) -> Fit:
    """How the model takes the scene. Raises SceneUnfit with the first reason why it cannot."""
    bands = select_bands(scene, card)
    _check_radiometry(scene, bands, card)
    _check_clouds(scene, max_cloud_fraction)
    if card.gsd_min_m <= scene.gsd_m <= card.gsd_max_m:
        return Fit(bands, False, scene.grid)
    if card.gsd_policy is GsdPolicy.RESAMPLE and card.gsd_m is not None:
        return Fit(bands, False, resampled_grid(scene, card.gsd_m), resampled=True)
    if not accept_gsd_mismatch:
        raise SceneUnfit(
            f"scene {scene.key} has a pixel size of {scene.gsd_m:.3g} m; {card.reference} takes "
            f"{card.gsd_min_m:g} to {card.gsd_max_m:g} m. Set accept_gsd_mismatch to run it all "
            "the same; its results will say so",
            field="accept_gsd_mismatch",
        )
    return Fit(bands, True, scene.grid)


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


def _check_clouds(scene: Scene, max_cloud_fraction: float | None) -> None:
    if max_cloud_fraction is not None and scene.quality is None:
        raise SceneUnfit(
            f"scene {scene.key} has no quality mask to tell its clouds by: register it again with "
            "--quality, or leave max_cloud_fraction out",
            field="max_cloud_fraction",
        )


def _check_radiometry(scene: Scene, bands: tuple[Band, ...], card: ModelCard) -> None:
    for band in bands:
        _check_numbers(scene, band)
    if card.input_unit is InputUnit.STORED:
        return
    kinds = set()
    for band in bands:
        kind = radiometry(band)
        meant = kind is Radiometry.REFLECTANCE or (kind and card.input_unit is InputUnit.DISPLAY)
        if not meant or band.scale == 0:
            raise SceneUnfit(
                f"band {band.name} of scene {scene.key} holds {band.dtype} values of "
                f"{kind.value if kind else 'unknown meaning'}, and {card.reference} needs "
                "reflectance; register the scene again with --scale and --offset, or with a STAC "
                "Item beside it, so that value * scale + offset is reflectance",
                field="scenes",
            )
        kinds.add(kind)
    if len(kinds) > 1:
        raise SceneUnfit(
            f"scene {scene.key} mixes bands of true colour with bands of reflectance; "
            "register it again with one meaning for all bands",
            field="scenes",
        )


def _check_numbers(scene: Scene, band: Band) -> None:
    """Refuse bands that hold or make what is no real number."""
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
