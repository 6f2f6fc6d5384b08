import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.imagery.side_item import MAX_ITEM_BYTES, SideItem, read_side_item


def document(**changes: Any) -> dict[str, Any]:
    """An Item of STAC 1.1 with two bands."""
    bands = [
        {"name": "B04", "eo:common_name": "red", "raster:scale": 1e-4, "raster:offset": -0.1},
        {"name": "B08", "eo:common_name": "nir"},
    ]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "a",
        "properties": {"datetime": "2020-07-01T10:30:00Z", "platform": "sentinel-2a"},
        "assets": {"data": {"href": "./a.tif", "bands": bands}},
        **changes,
    }


def asset(**fields: Any) -> dict[str, Any]:
    return document(assets={"data": {"href": "./a.tif", **fields}})


def read(folder: Path, content: object) -> SideItem | None:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "a.json").write_bytes(text)
    return read_side_item(folder / "a.tif")


def facts(folder: Path, content: object) -> list[tuple[object, ...]]:
    item = read(folder, content)
    assert item is not None
    return [(band.name, band.common_name, band.scale, band.offset) for band in item.bands]


def refusal(folder: Path, content: object) -> str:
    with pytest.raises(SceneRefused) as caught:
        read(folder, content)
    message = caught.value.message
    assert message.startswith("a.json beside the raster")
    assert message.isprintable()
    assert len(message) < 300
    return message


def test_no_item_is_no_item(tmp_path: Path) -> None:
    assert read_side_item(tmp_path / "a.tif") is None


def test_bands_of_stac_1_1_are_read(tmp_path: Path) -> None:
    assert facts(tmp_path, document()) == [
        ("B04", "red", 1e-4, -0.1),
        ("B08", "nir", None, None),
    ]


def test_bands_of_stac_1_0_are_read(tmp_path: Path) -> None:
    content = asset(
        **{
            "eo:bands": [{"name": "B04", "common_name": "red"}, {"name": "B08"}],
            "raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}, {"offset": 5}],
        }
    )
    content["stac_version"] = "1.0.0"
    assert facts(tmp_path, content) == [("B04", "red", 1e-4, -0.1), ("B08", None, 1.0, 5.0)]


@pytest.mark.parametrize("kept", ["eo:bands", "raster:bands"])
def test_either_list_of_stac_1_0_is_enough(tmp_path: Path, kept: str) -> None:
    assert len(facts(tmp_path, asset(**{kept: [{}, {}]}))) == 2


def test_a_scale_of_the_asset_holds_for_its_bands(tmp_path: Path) -> None:
    content = asset(**{"bands": [{"name": "a"}, {"raster:scale": 2}], "raster:scale": 1e-4})
    assert [scale for _, _, scale, _ in facts(tmp_path, content)] == [1e-4, 2.0]


def test_bands_of_the_properties_hold_where_the_asset_has_none(tmp_path: Path) -> None:
    content = asset()
    content["properties"]["bands"] = [{"name": "a"}]
    assert facts(tmp_path, content) == [("a", None, None, None)]


def test_the_asset_that_names_the_raster_is_taken(tmp_path: Path) -> None:
    other = {"href": "https://example.org/b.tif", "bands": [{"name": "x"}]}
    mine = {"href": "https://example.org/2020/a.tif", "bands": [{"name": "y"}]}
    content = document(assets={"other": other, "mine": mine})
    assert facts(tmp_path, content) == [("y", None, None, None)]


def test_an_only_asset_is_taken_whatever_its_name(tmp_path: Path) -> None:
    assert (
        len(facts(tmp_path, document(assets={"x": {"href": "s3://b/z.tif", "bands": [{}]}}))) == 1
    )


@pytest.mark.parametrize(
    ("properties", "start", "end"),
    [
        ({"datetime": "2020-07-01T10:30:00Z"}, "2020-07-01T10:30:00", "2020-07-01T10:30:00"),
        ({"datetime": "2020-07-01T12:30:00+02:00"}, "2020-07-01T10:30:00", "2020-07-01T10:30:00"),
        (
            {
                "datetime": None,
                "start_datetime": "1999-07-01T00:00:00Z",
                "end_datetime": "2003-05-31T00:00:00.5Z",
            },
            "1999-07-01T00:00:00",
            "2003-05-31T00:00:00.5",
        ),
    ],
)
def test_times_are_aware_and_utc(
    tmp_path: Path, properties: dict[str, str], start: str, end: str
) -> None:
    item = read(tmp_path, document(properties=properties))
    assert item is not None
    assert item.start_at == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert item.end_at == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_an_item_without_a_time_tells_none(tmp_path: Path) -> None:
    item = read(tmp_path, document(properties={}))
    assert item is not None
    assert (item.start_at, item.end_at) == (None, None)


def test_the_items_beside_the_sample_scenes_are_read(sample_data: Path) -> None:
    for path in (sample_data / "scenes").glob("*.json"):
        item = read_side_item(path.with_suffix(".tif"))
        assert item is not None
        assert item.bands
        assert item.start_at is not None


def test_real_items_of_many_files_are_refused_for_a_raster_they_do_not_name(
    sample_data: Path, tmp_path: Path
) -> None:
    for path in (sample_data / "stac").iterdir():
        assert "one asset whose href is a.tif" in refusal(tmp_path, path.read_bytes())


@pytest.mark.parametrize(
    ("file", "href", "count"),
    [
        ("s2_l2a_T07HFE_item.json", "B04", 1),
        ("s2_l1c_T01LAC_item.json", "TCI", 3),
    ],
)
def test_a_real_item_describes_the_files_it_names(
    sample_data: Path, tmp_path: Path, file: str, href: str, count: int
) -> None:
    content = json.loads((sample_data / "stac" / file).read_text())
    named = next(
        a for a in content["assets"].values() if href in a["href"] and not a["href"].endswith("xml")
    )
    name = named["href"].rpartition("/")[2]
    (tmp_path / name).with_suffix(".json").write_text(json.dumps(content))
    item = read_side_item(tmp_path / name)
    assert item is not None
    assert len(item.bands) == count
    assert item.bands[0].common_name == "red"


HOSTILE = {
    "nothing": b"",
    "no JSON": b"II*\0",
    "bytes that are no text": b"\xff\xfe\xfa",
    "half a document": b'{"type": "Feature",',
    "a hundred thousand brackets": b"[" * 100_000,
    "a hundred thousand objects": b'{"a":' * 100_000,
    "NaN": b'{"type": "Feature", "x": NaN}',
    "a list": [],
    "a number": 5,
    "another kind of file": {"type": "FeatureCollection", "features": []},
    "no version": {"type": "Feature"},
    "an old version": document(stac_version="0.9.0"),
    "a version that is a list": document(stac_version=["1.1.0"]),
    "no properties": document(properties=None),
    "no assets": document(assets={}),
    "assets that are a list": document(assets=[1]),
    "an asset that is text": document(assets={"data": "a.tif"}),
    "two assets of the raster": document(assets={"a": {"href": "a.tif"}, "b": {"href": "a.tif"}}),
    "bands that are text": asset(bands="red"),
    "a band that is text": asset(bands=["red"]),
    "too many bands": asset(bands=[{}] * 1001),
    "lists of two lengths": asset(**{"eo:bands": [{}], "raster:bands": [{}, {}]}),
    "a name of colours": asset(bands=[{"name": "\x1b[31mred"}]),
    "a name of lines": asset(bands=[{"eo:common_name": "red\nforged"}]),
    "a huge name": asset(bands=[{"name": "x" * 10_000}]),
    "a name that is a list": asset(bands=[{"name": []}]),
    "a scale of 0": asset(bands=[{"raster:scale": 0}]),
    "a scale that is text": asset(bands=[{"raster:scale": "1"}]),
    "a scale that is true": asset(bands=[{"raster:scale": True}]),
    "a scale of 400 digits": asset(bands=[{"raster:scale": 10**400}]),
    "an infinite offset": b'{"type":"Feature","stac_version":"1.1.0","properties":{},'
    b'"assets":{"a":{"href":"a.tif","bands":[{"raster:offset":1e999}]}}}',
    "a time that is no time": document(properties={"datetime": "yesterday"}),
    "a time without offset": document(properties={"datetime": "2020-07-01T10:30:00"}),
    "a time that is a number": document(properties={"datetime": 5}),
    "a time before all times": document(properties={"datetime": "0001-01-01T00:00:00+23:00"}),
    "an end before its start": document(
        properties={
            "start_datetime": "2020-07-02T00:00:00Z",
            "end_datetime": "2020-07-01T00:00:00Z",
        }
    ),
    "a platform that is an object": document(properties={"platform": {}}),
    "too large a file": b" " * (MAX_ITEM_BYTES + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_item_of_this_raster_is_refused_by_name(tmp_path: Path, name: str) -> None:
    refusal(tmp_path, HOSTILE[name])


def test_a_link_is_not_followed_and_tells_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(document(id="the content of a secret file")))
    (tmp_path / "a.json").symlink_to(secret)
    with pytest.raises(SceneRefused) as caught:
        read_side_item(tmp_path / "a.tif")
    assert "secret" not in caught.value.message


def test_a_pipe_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(SceneRefused):
        read_side_item(tmp_path / "a.tif")


def wavelengths(folder: Path, content: object) -> list[float | None]:
    item = read(folder, content)
    assert item is not None
    return [band.wavelength_um for band in item.bands]


def test_centre_wavelengths_are_read_from_both_versions(tmp_path: Path) -> None:
    assert wavelengths(tmp_path, asset(bands=[{"eo:center_wavelength": 0.665}, {}])) == [
        0.665,
        None,
    ]
    old = asset(**{"eo:bands": [{"center_wavelength": 10}, {"center_wavelength": None}]})
    assert wavelengths(tmp_path, old | {"stac_version": "1.0.0"}) == [10.0, None]


@pytest.mark.parametrize("value", [0, -0.6, 665, "0.665", True, 1e400, [0.6]])
def test_a_wavelength_that_is_none_in_micrometres_is_refused(tmp_path: Path, value: object) -> None:
    text = json.dumps(asset(bands=[{"eo:center_wavelength": value}]))
    assert "centre wavelength" in refusal(tmp_path, text.replace("Infinity", "1e400").encode())


def masks(folder: Path, **assets: object) -> tuple[str, str] | None:
    item = read(folder, document(assets={"data": {"href": "./a.tif"}, **assets}))
    assert item is not None
    return None if item.mask is None else (item.mask.kind.value, item.mask.file_name)


def test_a_quality_mask_is_known_by_its_key_or_by_role_and_name(tmp_path: Path) -> None:
    href = {"href": "https://example.org/x/SCL_20m.tif"}
    assert masks(tmp_path) is None
    assert masks(tmp_path, scl=href) == ("scl", "SCL_20m.tif")
    assert masks(tmp_path, SCL=href) == ("scl", "SCL_20m.tif")
    assert masks(tmp_path, qa_pixel={"href": "q.tif"}) == ("qa_pixel", "q.tif")
    assert masks(tmp_path, mask={"href": "a_QA_PIXEL.TIF", "roles": ["cloud"]}) == (
        "qa_pixel",
        "a_QA_PIXEL.TIF",
    )
    assert masks(tmp_path, mask={"href": "a_QA_PIXEL.TIF", "roles": ["data"]}) is None
    assert masks(tmp_path, mask={"href": "clouds.tif", "roles": ["cloud"]}) is None


@pytest.mark.parametrize("href", [5, None, "", "x/", {"a": 1}])
def test_a_mask_without_a_file_is_none(tmp_path: Path, href: object) -> None:
    assert masks(tmp_path, scl={"href": href}) is None


@pytest.mark.parametrize("name", ["a\x1b[31m.tif", "x" * 256, "a\u2028.tif"])
def test_a_mask_whose_name_could_forge_output_is_refused(tmp_path: Path, name: str) -> None:
    content = document(assets={"data": {"href": "./a.tif"}, "scl": {"href": name}})
    assert "no name of a file" in refusal(tmp_path, content)


def test_the_masks_of_real_items_are_found(sample_data: Path, tmp_path: Path) -> None:
    for name, mask in (("s2_l2a_T07HFE_item", "scl"), ("l8_c2l2_047027_item", "qa_pixel")):
        item = json.loads((sample_data / "stac" / f"{name}.json").read_text())
        item["assets"]["red"]["href"] = "./a.tif"
        read_one = read(tmp_path, item)
        assert read_one is not None
        assert read_one.mask is not None
        assert read_one.mask.kind == mask
        assert read_one.bands[0].common_name == "red"
        assert read_one.bands[0].wavelength_um == pytest.approx(0.66, abs=0.011)
