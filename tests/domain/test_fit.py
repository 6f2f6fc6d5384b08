"""Does a scene suit a model?"""

import json
from dataclasses import replace
from typing import Any

import pytest

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.errors import SceneUnfit
from constellation_pipelines.domain.fit import Radiometry, fit, radiometry
from constellation_pipelines.domain.ids import new_id
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
