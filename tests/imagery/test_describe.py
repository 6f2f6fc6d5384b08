import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import shapely

from constellation_pipelines.domain.errors import InvalidInput, SceneRefused
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.geo import dateline
from constellation_pipelines.imagery.describe import check_key, describe_scene, scene_digest
from tests.imagery import rasters

SCENES = [
    "l7_etm_olinda_31985_6band.tif",
    "l7_rgb_byte_bahamas_32618.tif",
    "l8_c2l2_colombia_32618_7band.tif",
    "l8_c2l2_greenland_32624_7band.tif",
    "naip_2018_nd_26914_rgbn.tif",
    "s2_b01_missouri_32615.jp2",
    "s2_tci_libya_32634.tif",
    "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif",
]
ODD = ["all_nodata.tif", "corrupt.tif", "dateline_32660.tif"]  # a fourth one is refused


@pytest.fixture(params=[*(f"scenes/{name}" for name in SCENES), *(f"odd/{name}" for name in ODD)])
def path(sample_data: Path, request: pytest.FixtureRequest) -> Path:
    found: Path = sample_data / request.param
    return found


def test_every_sample_scene_is_named_here(sample_data: Path) -> None:
    found = {one.name for one in (sample_data / "scenes").iterdir() if one.suffix != ".json"}
    assert found == set(SCENES)


def refusal(path: Path, **told: Any) -> str:
    with pytest.raises(SceneRefused) as caught:
        describe_scene(path, **told)
    assert caught.value.message.isprintable()
    return caught.value.message


def written(tmp_path: Path, **facts: Any) -> Scene:
    return describe_scene(rasters.write(tmp_path / "a.tif", **facts))


def test_the_footprint_has_the_corners_that_the_raster_has(path: Path) -> None:
    import rasterio
    from rasterio.warp import transform

    scene = describe_scene(path)
    with rasterio.open(path) as raster:
        w, h = raster.width, raster.height
        corners = [raster.transform @ c for c in ((0, 0), (w, 0), (w, h), (0, h))]
        xs, ys = zip(*corners, strict=True)
        lons, lats = transform(raster.crs, "EPSG:4326", xs, ys)
        assert scene.grid.crs == f"EPSG:{raster.crs.to_epsg()}"
        assert (scene.grid.width_px, scene.grid.height_px) == (w, h)
        assert len(scene.bands) == raster.count
    vertices = shapely.get_coordinates(shapely.geometry.shape(scene.footprint))
    for lon, lat in zip(lons, lats, strict=True):
        assert min(abs(vertices[:, 0] - lon) + abs(vertices[:, 1] - lat)) < 1e-7


def test_the_area_and_pixel_size_agree(path: Path) -> None:
    scene = describe_scene(path)
    pixels = scene.grid.width_px * scene.grid.height_px
    assert scene.area_km2 == pytest.approx(pixels * scene.gsd_m**2 / 1e6, rel=0.01)


def test_the_digest_is_that_of_the_file_and_of_how_it_is_read(path: Path, tmp_path: Path) -> None:
    scene = describe_scene(path)
    assert re.fullmatch("[0-9a-f]{64}", scene.digest)
    for original in path.parent.glob(f"{path.stem}.*"):
        (tmp_path / original.name).write_bytes(original.read_bytes())
    copy = tmp_path / path.name
    assert describe_scene(copy).digest == scene.digest
    digests = {
        scene.digest,
        describe_scene(path, scale=0.5).digest,
        describe_scene(path, scale=0.5, offset=-0.25).digest,
        describe_scene(path, bands=["pan"] + ["-"] * (len(scene.bands) - 1)).digest,
    }
    assert len(digests) == 4
    with copy.open("ab") as file:
        file.write(b"\0")
    assert describe_scene(copy).digest != scene.digest


def test_a_wavelength_is_part_of_the_digest_once_it_is_known(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", count=1)
    plain = describe_scene(path)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    band = {
        "index": 1, "name": "band 1", "common_name": None, "dtype": "uint8", "scale": None,
        "offset": None,
    }  # fmt: skip
    # As it was before wavelengths were read: scenes keep their results.
    parts = json.dumps([content, [band], None])
    assert plain.digest == hashlib.sha256(parts.encode()).hexdigest()
    (known,) = (replace(band, wavelength_um=0.66) for band in plain.bands)
    assert scene_digest(content, [known], None) != plain.digest


def test_the_item_is_valid_stac_and_free_of_paths(path: Path) -> None:
    scene = describe_scene(path)
    item = pystac.Item.from_dict(scene.item)
    assert item.to_dict(include_self_link=False) == scene.item
    assert scene.item["stac_version"] == "1.1.0"
    assert item.id == scene.key
    assert item.datetime or item.common_metadata.start_datetime
    assert item.assets["data"].href == path.name
    assert str(path.parent) not in json.dumps(scene.item, allow_nan=False)
    bands = item.assets["data"].extra_fields["bands"]
    assert [band["name"] for band in bands] == [band.name for band in scene.bands]
    assert item.properties["proj:shape"] == [scene.grid.height_px, scene.grid.width_px]
    assert item.properties["gsd"] == scene.gsd_m
    assert item.bbox == list(dateline.bounds(shapely.geometry.shape(scene.footprint)))


def test_the_bands_of_the_sample_scenes_are_known(sample_data: Path) -> None:
    found = {
        name: [b.common_name for b in describe_scene(sample_data / "scenes" / name).bands]
        for name in SCENES
    }
    assert found["naip_2018_nd_26914_rgbn.tif"] == ["red", "green", "blue", "nir"]
    assert found["s2_tci_libya_32634.tif"] == ["red", "green", "blue"]
    assert found["s2_b01_missouri_32615.jp2"] == [None]
    assert found["l8_c2l2_colombia_32618_7band.tif"][1:4] == ["blue", "green", "red"]
    assert found["l7_etm_olinda_31985_6band.tif"][:3] == ["blue", "green", "red"]


def test_time_and_scale_come_from_the_item_beside_the_raster(sample_data: Path) -> None:
    scene = describe_scene(sample_data / "scenes" / "l8_c2l2_colombia_32618_7band.tif")
    assert scene.start_at == scene.end_at == datetime(2019, 12, 1, tzinfo=UTC)
    assert {(band.scale, band.offset) for band in scene.bands} == {(2.75e-5, -0.2)}
    assert scene.nodata == 0
    assert scene.item["properties"]["datetime"] == "2019-12-01T00:00:00Z"


def test_a_scene_without_a_time_says_so_in_its_item(sample_data: Path) -> None:
    scene = describe_scene(sample_data / "scenes" / "s2_tci_libya_32634.tif")
    assert (scene.start_at, scene.end_at) == (None, None)
    properties = scene.item["properties"]
    assert properties["datetime"] is None
    assert properties["constellation:time_known"] is False
    assert properties["start_datetime"] < properties["end_datetime"]


def test_a_scene_across_180_has_two_parts_and_a_short_box(sample_data: Path) -> None:
    scene = describe_scene(sample_data / "odd" / "dateline_32660.tif")
    assert scene.footprint["type"] == "MultiPolygon"
    assert len(scene.footprint["coordinates"]) == 2
    west, _, east, _ = scene.item["bbox"]
    assert (west, east) == pytest.approx((177.999, -178.514), abs=1e-3)


def test_a_scene_of_gcps_only_is_refused(sample_data: Path) -> None:
    message = refusal(sample_data / "odd" / "gcps_no_crs_s1.tif")
    assert "ground control points only" in message
    assert "gdalwarp" in message


def test_a_scene_without_crs_is_refused(tmp_path: Path) -> None:
    assert "has no CRS" in refusal(rasters.write(tmp_path / "a.tif", crs=None))


def test_a_scene_of_rational_polynomials_only_is_refused(tmp_path: Path) -> None:
    from rasterio.rpc import RPC

    terms = [1.0] + [0.0] * 19
    rpcs = RPC(0, 1, 45, 1, terms, terms, 5, 5, 15, 1, terms, terms, 5, 5, 0, 0)
    path = rasters.write(tmp_path / "a.tif", crs=None, transform=None, rpcs=rpcs)
    assert "orthorectify" in refusal(path)


def test_a_scene_without_geotransform_is_refused(tmp_path: Path) -> None:
    assert "no geotransform" in refusal(rasters.write(tmp_path / "a.tif", transform=None))


def test_a_scene_of_complex_bands_is_refused(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", dtype="complex64")
    assert "complex numbers" in refusal(path)


@pytest.mark.parametrize(
    "crs",
    [
        'LOCAL_CS["site grid",UNIT["metre",1]]',
        "EPSG:4978",
        'GEOGCS["Moon",DATUM["Moon",SPHEROID["Moon",1737400,0]],PRIMEM["Reference",0],'
        'UNIT["degree",0.0174532925199433]]',
        "+proj=longlat +R=1737400 +no_defs",
        "+proj=eqc +R=3396190 +units=m",
    ],
)
def test_a_crs_that_is_no_map_of_the_earth_is_refused(tmp_path: Path, crs: str) -> None:
    message = refusal(rasters.write(tmp_path / "a.tif", crs=crs))
    assert "Earth" in message or "CRS" in message


@pytest.mark.parametrize(
    "transform",
    [
        (10.0, 0.0, 5e7, 0.0, -10.0, 5e6),
        (10.0, 0.0, 5e5, 10.0, 0.0, 5e6),
        (float("nan"), 0.0, 5e5, 0.0, -10.0, 5e6),
        (float("inf"), 0.0, 5e5, 0.0, -10.0, 5e6),
        (1e-300, 0.0, 5e5, 0.0, -1e-300, 5e6),
    ],
)
def test_a_place_that_is_not_on_the_earth_is_refused(
    tmp_path: Path, transform: tuple[float, ...]
) -> None:
    assert refusal(rasters.write(tmp_path / "a.tif", transform=transform)).startswith("a.tif: ")


def test_a_rotated_scene_is_where_its_pixels_are(tmp_path: Path) -> None:
    scene = written(tmp_path, transform=(8.0, 6.0, 500_000.0, 6.0, -8.0, 5_000_000.0))
    assert scene.gsd_m == pytest.approx(10, rel=1e-3)
    assert scene.area_km2 == pytest.approx(64 * 64 * 100 / 1e6, rel=1e-3)
    assert scene.grid.transform == (8.0, 6.0, 500_000.0, 6.0, -8.0, 5_000_000.0)


@pytest.mark.parametrize(
    ("crs", "stored"),
    [
        ("EPSG:3031", "EPSG:3031"),
        ("EPSG:3857", "EPSG:3857"),
        ("EPSG:26914", "EPSG:26914"),
        ("EPSG:32633+5773", "EPSG:32633"),
    ],
)
def test_a_known_crs_is_stored_by_its_code(tmp_path: Path, crs: str, stored: str) -> None:
    transform = (10.0, 0.0, 500_000.0, 0.0, -10.0, 1_000_000.0)
    assert written(tmp_path, crs=crs, transform=transform).grid.crs == stored


def test_a_crs_of_ones_own_is_stored_as_wkt(tmp_path: Path) -> None:
    crs = "+proj=laea +lat_0=47 +lon_0=11 +ellps=GRS80 +units=m"
    scene = written(tmp_path, crs=crs, transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    assert "Lambert Azimuthal Equal Area" in scene.grid.crs
    lon, lat = shapely.get_coordinates(shapely.geometry.shape(scene.footprint)).max(axis=0)
    assert (lon, lat) == pytest.approx((11, 47), abs=0.02)
    assert scene.item["properties"]["proj:code"] is None
    assert scene.item["properties"]["proj:wkt2"] == scene.grid.crs


@pytest.mark.parametrize(("nodata", "word"), [(float("nan"), "nan"), (float("-inf"), "-inf")])
def test_nodata_that_json_cannot_hold_is_a_word_in_the_item(
    tmp_path: Path, nodata: float, word: str
) -> None:
    scene = written(tmp_path, dtype="float32", nodata=nodata)
    assert str(scene.nodata) == word
    assert scene.item["assets"]["data"]["bands"][0]["nodata"] == word
    json.dumps(scene.item, allow_nan=False)


def test_bands_scale_and_key_may_be_given(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", dtype="uint16", photometric="minisblack")
    scene = describe_scene(
        path, bands=["nir", "red", "green"], scale=1e-4, offset=-0.1, key="s2.2020-07"
    )
    assert [band.common_name for band in scene.bands] == ["nir", "red", "green"]
    assert {(band.scale, band.offset) for band in scene.bands} == {(1e-4, -0.1)}
    assert scene.key == "s2.2020-07"
    assert scene.item["id"] == "s2.2020-07"


def test_an_item_that_contradicts_the_raster_is_refused(sample_data: Path, tmp_path: Path) -> None:
    item = sample_data / "scenes" / "naip_2018_nd_26914_rgbn.json"
    path = rasters.write(tmp_path / "naip_2018_nd_26914_rgbn.tif")
    path.with_suffix(".json").write_bytes(item.read_bytes())
    assert "describes 4 bands, the raster has 3" in refusal(path)


@pytest.mark.parametrize(
    ("stem", "key"),
    [
        ("S2A_T33UXP 2020", "S2A_T33UXP-2020"),
        ("São Paulo, north", "Sao-Paulo-north"),
        ("..hidden", "hidden"),
        ("a...b", "a.b"),
        ("x" * 200, "x" * 100),
        ("a;drop table", "a-drop-table"),
    ],
)
def test_a_key_is_made_from_the_name_of_the_file(tmp_path: Path, stem: str, key: str) -> None:
    path = rasters.write(tmp_path / f"{stem}.tif")
    assert describe_scene(path).key == key


def test_a_name_that_makes_no_key_needs_one(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "北京.tif")
    with pytest.raises(InvalidInput, match="--key"):
        describe_scene(path)
    assert describe_scene(path, key="beijing").key == "beijing"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a,b",
        "a\nb",
        "a\0",
        "a/b",
        "a|b",
        "a b",
        "a...b",
        "-a",
        ".a",
        "a\n",
        "é",
        "x" * 101,
        "0198c0de-0000-7000-8000-000000000000",
        "0198c0de000070008000000000000000",
    ],
)
def test_a_key_that_urls_or_dagster_cannot_hold_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_key(key)
    assert caught.value.field == "key"


def test_a_refusal_names_the_file_and_not_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text(rasters.VRT.format(source="/etc/passwd"))
    message = refusal(path)
    assert "a.tif" in message
    assert str(tmp_path) not in message


# rasterio stumbles, without harm, when GDAL complains in bytes of the file that are no text.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_header_is_refused_or_described_and_never_crashes(tmp_path: Path) -> None:
    whole = rasters.write(
        tmp_path / "whole.tif", side_px=8, compress="deflate", descriptions=("red",), nodata=0
    ).read_bytes()
    path = tmp_path / "changed.tif"
    random = np.random.default_rng(1)
    described = 0
    for _ in range(500):
        changed = bytearray(whole)
        for at in random.integers(4, len(whole), 3):
            changed[at] = random.integers(256)
        path.write_bytes(changed)
        try:
            scene = describe_scene(path)
        except SceneRefused:
            continue
        described += 1
        json.dumps(scene.item, allow_nan=False)
        assert all(band.name.isprintable() for band in scene.bands)
        assert 0 < scene.gsd_m < float("inf")
        assert 0 < scene.area_km2 < 510_100_000
    assert 0 < described < 500
