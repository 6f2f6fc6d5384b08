from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.imagery.bands import Calibration, describe_bands
from constellation_pipelines.imagery.raster import open_raster
from constellation_pipelines.imagery.side_item import ItemBand, SideItem
from tests.imagery import rasters


def described(path: Path, **told: Any) -> tuple[Band, ...]:
    with open_raster(path) as dataset:
        return describe_bands(dataset, **told)


def commons(bands: tuple[Band, ...]) -> list[str | None]:
    return [band.common_name for band in bands]


def item(*bands: ItemBand, platform: str | None = None) -> SideItem:
    return SideItem("a.json", bands, platform, None, None)


def named(name: str | None, common_name: str | None = None) -> ItemBand:
    return ItemBand(name, common_name, None, None)


@pytest.fixture
def rgb(tmp_path: Path) -> Path:
    return rasters.write(tmp_path / "rgb.tif", photometric="rgb")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return rasters.write(tmp_path / "plain.tif", dtype="uint16", photometric="minisblack")


def test_names_given_win_over_everything(tmp_path: Path) -> None:
    path = rasters.write(
        tmp_path / "a.tif", photometric="rgb", descriptions=("B1 blue", "B2 green", "B3 red")
    )
    told = item(named("x", "nir"), named("y", "pan"), named("z", "cirrus"))
    bands = described(path, names=["swir16", "NIR", "Moisture"], item=told)
    assert [band.name for band in bands] == ["swir16", "NIR", "Moisture"]
    assert commons(bands) == ["swir16", "nir", None]


def test_an_item_wins_over_descriptions_and_colours(rgb: Path) -> None:
    told = item(named("B11", "swir16"), named("B8", "nir"), named("B4", "red"))
    assert commons(described(rgb, item=told)) == ["swir16", "nir", "red"]


def test_an_item_without_bands_leaves_the_file_to_tell(rgb: Path) -> None:
    assert commons(described(rgb, item=item())) == ["red", "green", "blue"]


def test_descriptions_win_over_colours(tmp_path: Path) -> None:
    path = rasters.write(
        tmp_path / "a.tif", photometric="rgb", descriptions=("B8 NIR", "B4 (Red)", "B11: swir1")
    )
    bands = described(path)
    assert commons(bands) == ["nir", "red", "swir16"]
    assert bands[1].name == "B4 (Red)"


def test_colours_tell_where_nothing_else_does(rgb: Path) -> None:
    assert commons(described(rgb)) == ["red", "green", "blue"]


def test_nothing_is_guessed_where_nothing_is_told(plain: Path) -> None:
    bands = described(plain)
    assert commons(bands) == [None, None, None]
    assert [band.name for band in bands] == ["band 1", "band 2", "band 3"]
    assert [band.index for band in bands] == [1, 2, 3]
    assert {band.dtype for band in bands} == {"uint16"}


def test_names_of_an_instrument_mean_nothing_without_it(tmp_path: Path) -> None:
    names = ("B04", "B03", "B02")
    path = rasters.write(tmp_path / "a.tif", photometric="minisblack", descriptions=names)
    assert commons(described(path)) == [None, None, None]
    told = [named(name) for name in names]
    assert commons(described(path, item=item(*told))) == [None, None, None]
    sentinel = item(*told, platform="sentinel-2b")
    assert commons(described(path, item=sentinel)) == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("landsat-7", "nir08"), ("LANDSAT-8", "red"), ("landsat-1", None), ("worldview-3", None)],
)
def test_the_same_name_means_what_its_platform_means(
    tmp_path: Path, platform: str, expected: str | None
) -> None:
    path = rasters.write(tmp_path / "a.tif", count=1)
    assert commons(described(path, item=item(named("B4"), platform=platform))) == [expected]


def test_two_words_of_colour_in_a_description_are_no_name(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", count=1, descriptions=("ratio of red and nir",))
    assert commons(described(path)) == [None]


def test_alpha_is_no_colour(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", count=4, photometric="rgb", alpha="yes")
    assert commons(described(path)) == ["red", "green", "blue", None]


@pytest.mark.parametrize("names", [[], ["red"], ["red"] * 4])
def test_a_wrong_count_of_names_is_refused(rgb: Path, names: list[str]) -> None:
    with pytest.raises(SceneRefused, match="raster of 3 bands") as caught:
        described(rgb, names=names)
    assert caught.value.field == "bands"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "x" * 65, "red;drop", "a\0"])
def test_names_that_could_forge_output_are_refused(rgb: Path, name: str) -> None:
    with pytest.raises(SceneRefused) as caught:
        described(rgb, names=["red", "green", name])
    assert caught.value.message.isprintable()


def test_two_bands_of_one_name_are_refused(rgb: Path) -> None:
    with pytest.raises(SceneRefused, match="more than one band is called red"):
        described(rgb, names=["red", "green", "red"])


def test_an_item_of_another_raster_is_refused(rgb: Path) -> None:
    with pytest.raises(SceneRefused, match=r"a\.json .* describes 2 bands, the raster has 3"):
        described(rgb, item=item(named("a"), named("b")))


def test_a_dash_leaves_a_band_without_a_name(rgb: Path) -> None:
    assert commons(described(rgb, names=["red", "-", ""])) == ["red", None, None]


def test_descriptions_lose_what_could_forge_output(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", count=1, descriptions=("\x1b[31mred\r\nforged",))
    (band,) = described(path)
    assert band.name.isprintable()


def test_descriptions_in_another_encoding_are_left_out(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", count=1, descriptions=("nir XX",))
    path.write_bytes(path.read_bytes().replace(b"nir XX", b"nir \xe9\xe9"))
    (band,) = described(path)
    assert (band.name, band.common_name) == ("band 1", None)


def test_scale_and_offset_come_from_the_item(plain: Path) -> None:
    told = item(*[ItemBand("x", None, 2.75e-5, -0.2)] * 3)
    assert {(b.scale, b.offset) for b in described(plain, item=told)} == {(2.75e-5, -0.2)}


def test_scale_and_offset_of_the_file_are_taken_where_it_has_them(plain: Path) -> None:
    import rasterio

    with rasterio.open(plain, "r+") as raster:
        raster.scales, raster.offsets = (1e-4,) * 3, (-0.1, 0.0, 0.0)
    bands = described(plain)
    assert [(b.scale, b.offset) for b in bands] == [(1e-4, -0.1), (1e-4, 0.0), (1e-4, 0.0)]


def test_what_a_driver_reports_for_nothing_is_nothing(plain: Path) -> None:
    assert {(band.scale, band.offset) for band in described(plain)} == {(None, None)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Calibration(1e-4, -0.1), (1e-4, -0.1)),
        (Calibration(1e-4), (1e-4, -0.2)),
        (Calibration(None, 0.0), (2.75e-5, 0.0)),
        (Calibration(), (2.75e-5, -0.2)),
    ],
)
def test_a_calibration_given_wins(
    plain: Path, given: Calibration, expected: tuple[float, float]
) -> None:
    told = item(*[ItemBand("x", None, 2.75e-5, -0.2)] * 3)
    bands = described(plain, item=told, calibration=given)
    assert {(band.scale, band.offset) for band in bands} == {expected}


def test_a_scale_alone_has_no_offset(plain: Path) -> None:
    bands = described(plain, calibration=Calibration(1e-4))
    assert {(band.scale, band.offset) for band in bands} == {(1e-4, 0.0)}


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(0.0, None), (float("nan"), None), (float("inf"), None), (1.0, float("nan"))],
)
def test_a_calibration_that_destroys_values_is_refused(scale: float, offset: float | None) -> None:
    with pytest.raises(SceneRefused):
        Calibration(scale, offset)


def wavelengths(bands: tuple[Band, ...]) -> list[float | None]:
    return [band.wavelength_um for band in bands]


def test_wavelengths_come_from_the_item_the_file_or_the_platform(tmp_path: Path) -> None:
    path = rasters.write(
        tmp_path / "a.tif",
        photometric="minisblack",
        band_tags={2: {"IMAGERY": {"CENTRAL_WAVELENGTH_UM": "0.561", "FWHM_UM": "0.03"}}},
    )
    assert wavelengths(described(path)) == [None, 0.561, None]
    told = item(ItemBand("a", None, None, None, 0.49), named("b"), named("c"))
    assert wavelengths(described(path, item=told)) == [0.49, 0.561, None]
    landsat = item(named("B2"), named("B3"), named("OLI_B4"), platform="landsat-8")
    assert wavelengths(described(path, item=landsat)) == [0.482, 0.561, 0.655]
    assert commons(described(path, item=landsat)) == ["blue", "green", "red"]
    by_name = item(named(None, "nir"), named(None, "red"), named("B01"), platform="sentinel-2a")
    assert wavelengths(described(path, item=by_name)) == [0.833, 0.561, 0.443]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"wavelength": "655.2", "wavelength_units": "Nanometers"}, 0.6552),
        ({"wavelength": "0.66", "wavelength_units": "Micrometers"}, 0.66),
        ({"wavelength": "655.2"}, None),
        ({"wavelength": "655.2", "wavelength_units": "Index"}, None),
        ({"wavelength": "nan", "wavelength_units": "nm"}, None),
        ({"wavelength": "-1", "wavelength_units": "nm"}, None),
        ({"wavelength": "1e300", "wavelength_units": "um"}, None),
        ({"wavelength": "red", "wavelength_units": "um"}, None),
    ],
)
def test_wavelengths_in_the_manner_of_envi_are_read_and_nonsense_is_not(
    tmp_path: Path, tags: dict[str, str], expected: float | None
) -> None:
    path = rasters.write(tmp_path / "a.tif", count=1, band_tags={1: {"": tags}})
    assert wavelengths(described(path)) == [expected and pytest.approx(expected)]


def test_a_name_given_that_contradicts_the_file_takes_its_wavelength_away(rgb: Path) -> None:
    told = item(*[ItemBand(None, name, None, None, 0.5) for name in ("blue", "green", "red")])
    bands = described(rgb, item=told, names=["blue", "nir", "-"])
    assert wavelengths(bands) == [0.5, None, 0.5]


def test_one_common_name_for_many_bands_names_none_of_them(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", photometric="minisblack")
    told = item(
        ItemBand("1", "red", None, None, 0.65), ItemBand("2", "red", None, None, 0.66), named("nir")
    )
    bands = described(path, item=told)
    assert commons(bands) == [None, None, None]
    assert wavelengths(bands) == [0.65, 0.66, None]


def test_the_three_red_edges_of_sentinel_2_are_told_apart(plain: Path) -> None:
    told = item(*[named(f"B0{n}", "rededge") for n in (5, 6, 7)], platform="sentinel-2b")
    assert commons(described(plain, item=told)) == ["rededge071", "rededge075", "rededge078"]
    assert commons(described(plain, item=item(*told.bands))) == [None, None, None]
