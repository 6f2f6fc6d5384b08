"""Which of a scene's bands a model is given: by common name, else by wavelength."""

from constellation_pipelines.domain.errors import SceneUnfit
from constellation_pipelines.domain.model import ModelBand, ModelCard
from constellation_pipelines.domain.scene import Band, Scene

# A band's centre may be this far from the model's: 0.02 um, or 2 % where that is more. Sentinel-2's
# and Landsat's blue, green, red and short-wave infrared are nearer to each other, their near
# infrared (0.83 and 0.865 um) is not.
TOLERANCE_UM = 0.02
TOLERANCE = 0.02
SAME_UM = 0.001  # nearer to each other than this, two bands are equally near


def select_bands(scene: Scene, card: ModelCard) -> tuple[Band, ...]:
    """The scene's bands in the model's order.

    A band of the model is found by its common name; failing that, where the card states its
    wavelength, as the band whose centre is nearest. Raises SceneUnfit, with what the scene has,
    when one is missing, when two are equally near, or when one would have to serve twice.
    """
    found = [_band_for(wanted, scene, card) for wanted in card.bands]
    missing = [
        _label(wanted) for wanted, band in zip(card.bands, found, strict=True) if band is None
    ]
    if missing:
        raise _unfit(scene, f"has no band {', '.join(missing)}, which {card.reference} needs")
    bands = tuple(band for band in found if band is not None)
    numbers = [band.index for band in bands]
    for wanted, band in zip(card.bands, bands, strict=True):
        if numbers.count(band.index) > 1:
            raise _unfit(
                scene,
                f"has one band, {_label(band)}, for {_label(wanted)} and another band of "
                f"{card.reference}",
            )
    return bands


def _band_for(wanted: ModelBand, scene: Scene, card: ModelCard) -> Band | None:
    if wanted.common_name is not None or wanted.wavelength_um is None:
        named = scene.band(wanted.common_name or wanted.name)
        if named is not None or wanted.wavelength_um is None:
            return named
    return _nearest(wanted, wanted.wavelength_um, scene, card)


def _nearest(wanted: ModelBand, centre_um: float, scene: Scene, card: ModelCard) -> Band | None:
    tolerance_um = max(TOLERANCE_UM, TOLERANCE * centre_um)
    off_um = [
        (abs(band.wavelength_um - centre_um), band)
        for band in scene.bands
        if band.wavelength_um is not None
    ]
    near = sorted((one for one in off_um if one[0] <= tolerance_um), key=lambda one: one[0])
    if len(near) > 1 and near[1][0] - near[0][0] < SAME_UM:
        both = f"{_label(near[0][1])} and {_label(near[1][1])}"
        raise _unfit(
            scene,
            f"has two bands, {both}, equally near to {_label(wanted)} of {card.reference}; "
            "name the one with --bands",
        )
    return near[0][1] if near else None


def _unfit(scene: Scene, text: str) -> SceneUnfit:
    has = ", ".join(_label(band) for band in scene.bands)
    return SceneUnfit(f"scene {scene.key} {text}; it has: {has}", field="scenes")


def _label(band: Band | ModelBand) -> str:
    name = band.common_name or band.name
    return name if band.wavelength_um is None else f"{name} ({band.wavelength_um:g} um)"
