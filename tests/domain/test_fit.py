"""Does a scene suit a model?"""

import json
from dataclasses import replace
from typing import Any

import pytest

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.errors import SceneUnfit
from constellation_pipelines.domain.fit import Radiometry, fit, radiometry
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.model import GsdPolicy, InputUnit, ModelBand, ModelCard
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.scene import Band, Grid, Scene
from tests.domain.test_card import CARD

MODEL = parse_card(json.loads(CARD.read_text()))


def band(name: str, index: int = 1, dtype: str = "uint8", **known: Any) -> Band:
    return Band(index, f"B{index}", name, dtype, **known)


def colours(dtype: str = "uint8", **known: Any) -> tuple[Band, ...]:
    names = ("blue", "green", "red", "nir")
    return tuple(band(name, i, dtype, **known) for i, name in enumerate(names, 1))


def scene(bands: tuple[Band, ...] = colours(), gsd_m: float = 10.0) -> Scene:
    grid = Grid("EPSG:32633", (10, 0, 0, 0, -10, 0), 100, 100, 64, 64)
    return Scene(new_id(), "s2-a", "/a.tif", "0" * 64, grid, bands, None, gsd_m, {}, 1.0)


def test_bands_come_in_the_models_order() -> None:
    found = fit(scene(), MODEL, accept_gsd_mismatch=False)
    assert [b.common_name for b in found.bands] == ["red", "green", "blue"]
    assert [b.index for b in found.bands] == [3, 2, 1]
    assert not found.gsd_mismatch


def test_missing_bands_are_named_with_those_there_are() -> None:
    with pytest.raises(SceneUnfit, match=r"no band red, blue.*it has: green, nir") as refusal:
        fit(scene((band("green"), band("nir", 2))), MODEL, accept_gsd_mismatch=False)
    assert refusal.value.field == "scenes"


@pytest.mark.parametrize("gsd_m", [5.0, 10.0, 20.0])
def test_a_pixel_size_within_the_range_fits(gsd_m: float) -> None:
    assert not fit(scene(gsd_m=gsd_m), MODEL, accept_gsd_mismatch=True).gsd_mismatch


@pytest.mark.parametrize("gsd_m", [0.3, 4.99, 20.01, 445.0])
def test_a_pixel_size_outside_the_range_needs_the_jobs_consent(gsd_m: float) -> None:
    with pytest.raises(SceneUnfit, match=r"5 to 20 m.*accept_gsd_mismatch") as refusal:
        fit(scene(gsd_m=gsd_m), MODEL, accept_gsd_mismatch=False)
    assert f"{gsd_m:.3g} m" in refusal.value.message
    assert fit(scene(gsd_m=gsd_m), MODEL, accept_gsd_mismatch=True).gsd_mismatch


def test_missing_bands_cannot_be_consented_to() -> None:
    with pytest.raises(SceneUnfit, match="no band"):
        fit(scene((band("red"),), gsd_m=445), MODEL, accept_gsd_mismatch=True)


@pytest.mark.parametrize(
    ("found", "meaning"),
    [
        (band("red"), Radiometry.TRUE_COLOUR),
        (band("red", scale=1.0, offset=0.0), Radiometry.TRUE_COLOUR),
        (band("red", scale=0.004), Radiometry.REFLECTANCE),
        (band("red", dtype="uint16", scale=1e-4), Radiometry.REFLECTANCE),
        (band("red", dtype="uint16", scale=2.75e-5, offset=-0.2), Radiometry.REFLECTANCE),
        (band("red", dtype="float32", scale=1.0), Radiometry.REFLECTANCE),
        (band("red", dtype="uint16"), None),
        (band("red", dtype="uint16", scale=1.0), None),
        (band("red", dtype="int16", offset=-0.1), None),
        (band("red", dtype="float32"), None),
        (band("red", dtype="int8"), None),
    ],
)
def test_what_stored_values_mean(found: Band, meaning: Radiometry | None) -> None:
    assert radiometry(found) is meaning


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_values_of_unknown_meaning_are_refused_with_the_way_out(dtype: str) -> None:
    with pytest.raises(SceneUnfit, match=r"--scale and --offset.*STAC Item"):
        fit(scene(colours(dtype)), MODEL, accept_gsd_mismatch=True)
    fit(scene(colours(dtype, scale=1e-4)), MODEL, accept_gsd_mismatch=True)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
def test_complex_bands_are_refused(dtype: str) -> None:
    with pytest.raises(SceneUnfit, match="complex"):
        fit(scene(colours(dtype, scale=1e-4)), MODEL, accept_gsd_mismatch=True)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(SceneUnfit, match="scale"):
        fit(scene(colours("uint16", scale=scale)), MODEL, accept_gsd_mismatch=True)


def test_an_unusable_band_that_the_model_does_not_take_does_no_harm() -> None:
    *rgb, nir = colours()
    bands = (*rgb, replace(nir, dtype="complex64"))
    assert len(fit(scene(bands), MODEL, accept_gsd_mismatch=False).bands) == 3


def test_bands_of_mixed_meaning_are_refused() -> None:
    blue, green, red, _ = colours()
    with pytest.raises(SceneUnfit, match="mixes"):
        fit(scene((blue, green, replace(red, scale=0.01))), MODEL, accept_gsd_mismatch=True)


def measured(name: str | None, index: int, wavelength_um: float | None) -> Band:
    return Band(index, f"B{index}", name, "uint8", wavelength_um=wavelength_um)


LANDSAT_8 = (
    measured("coastal", 1, 0.443),
    measured("blue", 2, 0.482),
    measured("green", 3, 0.561),
    measured("red", 4, 0.655),
    measured("nir08", 5, 0.865),
    measured("swir16", 6, 1.609),
    measured("swir22", 7, 2.201),
)


def wanting(*bands: ModelBand) -> ModelCard:
    return replace(MODEL, bands=bands)


def taken(card: ModelCard, bands: tuple[Band, ...] = LANDSAT_8) -> list[int]:
    return [band.index for band in fit(scene(bands), card, accept_gsd_mismatch=False).bands]


@pytest.mark.parametrize(
    ("wavelength_um", "index"),
    [(0.49, 2), (0.56, 3), (0.665, 4), (0.864, 5), (1.61, 6), (2.19, 7), (2.24, 7)],
)
def test_a_band_is_found_by_its_wavelength(wavelength_um: float, index: int) -> None:
    wanted = ModelBand("S2 band", wavelength_um=wavelength_um)
    assert taken(wanting(wanted)) == [index]
    nameless = tuple(replace(band, common_name=None) for band in LANDSAT_8)
    assert taken(wanting(wanted), nameless) == [index]


def test_a_common_name_goes_before_a_wavelength_and_a_wavelength_before_nothing() -> None:
    both = ModelBand("nir", common_name="nir", wavelength_um=0.86)
    assert taken(wanting(both)) == [5]  # Landsat calls it nir08
    assert taken(wanting(both), (*LANDSAT_8, measured("nir", 8, None))) == [8]


@pytest.mark.parametrize("wavelength_um", [0.52, 0.705, 0.835, 1.375, 2.3, 10.9])
def test_a_wavelength_that_no_band_is_near_is_missing(wavelength_um: float) -> None:
    card = wanting(ModelBand("other", wavelength_um=wavelength_um), ModelBand("red", "red"))
    with pytest.raises(SceneUnfit) as refusal:
        taken(card)
    assert f"no band other ({wavelength_um:g} um)" in refusal.value.message
    assert "it has: coastal (0.443 um), blue (0.482 um), green" in refusal.value.message


def test_a_scene_whose_wavelengths_nobody_knows_has_no_band_of_any() -> None:
    with pytest.raises(SceneUnfit, match=r"no band red \(0.665 um\).*it has: B1, B2"):
        taken(
            wanting(ModelBand("red", wavelength_um=0.665)),
            (measured(None, 1, None), measured(None, 2, None)),
        )


def test_two_bands_equally_near_are_not_chosen_between() -> None:
    wanted = wanting(ModelBand("red", wavelength_um=0.66))
    twins = (measured("one", 1, 0.655), measured("two", 2, 0.665))
    with pytest.raises(SceneUnfit, match=r"one \(0.655 um\) and two \(0.665 um\), equally near"):
        taken(wanted, twins)
    assert taken(wanted, (twins[0], measured("two", 2, 0.67))) == [1]


def test_one_band_does_not_serve_twice() -> None:
    card = wanting(ModelBand("a", wavelength_um=0.65), ModelBand("b", wavelength_um=0.66))
    with pytest.raises(SceneUnfit, match=r"has one band, red .* for a .* and another"):
        taken(card)


RESAMPLING = replace(MODEL, gsd_policy=GsdPolicy.RESAMPLE, gsd_m=10.0)


def scene_of(
    transform: tuple[float, float, float, float, float, float],
    gsd_m: float,
    aspect: float = 1.0,
    sides_px: tuple[int, int] = (1000, 700),
) -> Scene:
    grid = Grid("EPSG:32633", transform, *sides_px, 64, 64, aspect)
    return replace(scene(gsd_m=gsd_m), grid=grid)


@pytest.mark.parametrize(
    ("gsd_m", "sides_px"),
    [(2.5, (250, 175)), (3.0, (300, 210)), (3.333, (334, 234)), (30.0, (3000, 2100))],
)
def test_a_model_that_resamples_gets_a_grid_of_its_own_pixel_size(
    gsd_m: float, sides_px: tuple[int, int]
) -> None:
    own = scene_of((gsd_m, 0, 5e5, 0, -gsd_m, 5e6), gsd_m)
    found = fit(own, RESAMPLING, accept_gsd_mismatch=False)
    assert found.resampled
    assert not found.gsd_mismatch
    grid = found.grid
    assert (grid.width_px, grid.height_px) == sides_px
    assert (grid.block_width_px, grid.block_height_px) == (512, 512)
    a, _, c, _, e, f = grid.transform
    assert (c, f) == (5e5, 5e6)
    assert a * grid.width_px == pytest.approx(gsd_m * 1000)
    assert e * grid.height_px == pytest.approx(-gsd_m * 700)
    assert 10 * (1 - 1 / 175) < a <= 10 + 1e-9


def test_turned_pixels_stay_turned_and_degrees_become_square() -> None:
    turned = fit(
        scene_of((1.6, 1.2, 5e5, 1.2, -1.6, 5e6), 2.0), RESAMPLING, accept_gsd_mismatch=False
    )
    a, b, c, d, e, f = turned.grid.transform
    assert (a, b, c, d, e, f) == pytest.approx((8, 6, 5e5, 6, -8, 5e6))
    # At 60 degrees north a pixel of equal sides in degrees is half as wide as high.
    north = scene_of((1e-5, 0, 14, 0, -1e-5, 60), 0.79, aspect=0.5)
    grid = fit(north, RESAMPLING, accept_gsd_mismatch=False).grid
    assert grid.transform[0] == pytest.approx(-2 * grid.transform[4], rel=0.03)
    assert grid.aspect == pytest.approx(1, rel=0.03)


def test_within_the_models_range_nothing_is_resampled() -> None:
    found = fit(scene(gsd_m=12.0), RESAMPLING, accept_gsd_mismatch=False)
    assert (found.grid, found.resampled) == (scene().grid, False)


@pytest.mark.parametrize("gsd_m", [161.0, 445.0, 0.15])
def test_pixels_too_far_from_the_models_are_refused(gsd_m: float) -> None:
    with pytest.raises(SceneUnfit, match="too far from 10 m"):
        fit(scene_of((gsd_m, 0, 0, 0, -gsd_m, 0), gsd_m), RESAMPLING, accept_gsd_mismatch=True)
    # Where one side of the pixel is too far, the other does not help.
    with pytest.raises(SceneUnfit, match="too far"):
        fit(scene_of((80, 0, 0, 0, -80, 0), 80, 9.0), RESAMPLING, accept_gsd_mismatch=True)


def test_a_scene_that_would_become_too_large_is_refused() -> None:
    large = scene_of((100, 0, 0, 0, -100, 0), 100.0, sides_px=(30_000, 30_000))
    with pytest.raises(SceneUnfit, match="300000 x 300000 px at 10 m"):
        fit(large, RESAMPLING, accept_gsd_mismatch=False)


def test_a_model_of_stored_values_takes_any_meaning_and_one_of_reflectance_only_that() -> None:
    unknown, colour = scene(colours("int16")), scene()
    stored = replace(MODEL, input_unit=InputUnit.STORED)
    assert fit(unknown, stored, accept_gsd_mismatch=False)
    assert fit(colour, stored, accept_gsd_mismatch=False)
    physical = replace(MODEL, input_unit=InputUnit.REFLECTANCE)
    with pytest.raises(SceneUnfit, match=r"true colour, and .* needs reflectance"):
        fit(colour, physical, accept_gsd_mismatch=False)
    assert fit(scene(colours("uint16", scale=1e-4)), physical, accept_gsd_mismatch=False)


def test_clouds_cannot_be_told_without_a_quality_mask() -> None:
    def clouded(of: Scene) -> object:
        return fit(of, MODEL, accept_gsd_mismatch=False, max_cloud_fraction=0.5)

    with pytest.raises(SceneUnfit, match="no quality mask") as refusal:
        clouded(scene())
    assert refusal.value.field == "max_cloud_fraction"
    assert clouded(replace(scene(), quality=QualityMask(QualityKind.SCL, "/a.tif", 5)))
