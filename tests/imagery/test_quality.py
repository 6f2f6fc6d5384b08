"""A scene's quality mask: who tells of it, and what it must be."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.imagery.describe import describe_scene
from tests.imagery import rasters

SCL, QA_PIXEL = QualityKind.SCL, QualityKind.QA_PIXEL
COARSE = (20.0, 0.0, 500_000.0, 0.0, -20.0, 5_000_000.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return rasters.write(tmp_path / "a.tif", photometric="rgb")


def mask(path: Path, **facts: Any) -> Path:
    """A mask of half the resolution of the scene."""
    told: dict[str, Any] = {"count": 1, "side_px": 32, "transform": COARSE, **facts}
    return rasters.write(path, **told)


def item(path: Path, **assets: Any) -> None:
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "properties": {},
        "assets": {"data": {"href": path.name}, **assets},
    }
    path.with_suffix(".json").write_text(json.dumps(document))


def refusal(path: Path, told: QualityMask | None = None) -> str:
    with pytest.raises(SceneRefused) as caught:
        describe_scene(path, quality=told)
    assert caught.value.field == "quality"
    assert caught.value.message.isprintable()
    return caught.value.message


def test_a_scene_without_a_mask_has_none(path: Path) -> None:
    assert describe_scene(path).quality is None


def test_a_mask_may_be_named(path: Path, tmp_path: Path) -> None:
    told = QualityMask(SCL, str(mask(tmp_path / "m.tif", count=2)), 2)
    assert describe_scene(path, quality=told).quality == told


@pytest.mark.parametrize(
    ("text", "kind"),
    [("SCL", SCL), ("B5: scl (classes)", SCL), ("QA_PIXEL", QA_PIXEL), ("qa_pixel", QA_PIXEL)],
)
def test_a_band_of_the_raster_may_be_the_mask(tmp_path: Path, text: str, kind: QualityKind) -> None:
    path = rasters.write(
        tmp_path / "a.tif", dtype="uint16", photometric="minisblack", descriptions=("", "", text)
    )
    assert describe_scene(path).quality == QualityMask(kind, str(path), 3)
    named = describe_scene(path, bands=["red", "scl", "-"])
    assert named.quality == QualityMask(SCL, str(path), 2)


@pytest.mark.parametrize("text", ["muscle", "sclera", "qa_pixels", "quality"])
def test_a_word_that_only_resembles_is_no_mask(tmp_path: Path, text: str) -> None:
    path = rasters.write(tmp_path / "a.tif", count=1, descriptions=(text,))
    assert describe_scene(path).quality is None


def test_the_item_may_name_a_mask_beside_the_raster(path: Path) -> None:
    beside = mask(path.with_name("x_SCL.tif"))
    item(path, scl={"href": "https://example.org/far/x_SCL.tif"})
    assert describe_scene(path).quality == QualityMask(SCL, str(beside), 1)
    other = QualityMask(SCL, str(mask(path.with_name("other.tif"))), 1)
    assert describe_scene(path, quality=other).quality == other


def test_a_mask_that_the_item_lists_and_nobody_has_downloaded_is_none(path: Path) -> None:
    item(path, scl={"href": "https://example.org/far/x_SCL.tif"})
    assert describe_scene(path).quality is None


def test_an_item_cannot_lead_to_another_folder(path: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    secret = mask(tmp_path / "far" / "m.tif")
    for href in (str(secret), "far/m.tif", "../m.tif", "/vsicurl/http://127.0.0.1:9/m.tif"):
        item(path, scl={"href": href})
        assert describe_scene(path).quality is None
    for href in ("..", "."):
        item(path, scl={"href": href})
        assert refusal(path)
    (tmp_path / "link.tif").symlink_to(secret)
    item(path, scl={"href": "link.tif"})
    assert "is a link" in refusal(path)


@pytest.mark.parametrize(
    ("facts", "kind", "reason"),
    [
        ({"dtype": "float32"}, SCL, "whole numbers"),
        ({"dtype": "complex64"}, SCL, "whole numbers"),
        ({"dtype": "uint8"}, QA_PIXEL, "16 bits"),
        ({"crs": "EPSG:32634"}, SCL, "another CRS"),
        ({"crs": None}, SCL, "no CRS"),
        ({"side_px": 31}, SCL, None),  # the corners are one coarse pixel away
        ({"side_px": 30}, SCL, "same ground"),
        ({"transform": rasters.NORTH_UP}, SCL, "same ground"),
        ({"transform": (20.0, 0.0, 500_021.0, 0.0, -20.0, 5_000_000.0)}, SCL, "same ground"),
        ({"transform": (20.0, 0.0, 500_640.0, 0.0, 20.0, 4_999_360.0)}, SCL, "same ground"),
    ],
)
def test_a_mask_must_hold_classes_of_the_same_ground(
    path: Path, facts: dict[str, Any], kind: QualityKind, reason: str | None
) -> None:
    told = QualityMask(kind, str(mask(path.with_name("m.tif"), **facts)))
    if reason is None:
        assert describe_scene(path, quality=told).quality == told
    else:
        assert reason in refusal(path, told)


def test_a_mask_has_to_be_a_raster_with_that_band(path: Path, tmp_path: Path) -> None:
    text = tmp_path / "m.tif"
    text.write_text(rasters.VRT.format(source="/etc/passwd"))
    assert "neither a GeoTIFF nor" in refusal(path, QualityMask(SCL, str(text)))
    assert "none is number 2" in refusal(path, QualityMask(SCL, str(mask(tmp_path / "1.tif")), 2))
    bomb = rasters.write(
        tmp_path / "bomb.tif", sparse_ok=True, tiled=True, side_px=60_000, compress="deflate"
    )
    assert "MiB of pixels" in refusal(path, QualityMask(SCL, str(bomb)))


def test_what_the_mask_says_is_part_of_the_scenes_digest(path: Path, tmp_path: Path) -> None:
    def digest(told: QualityMask | None) -> str:
        return describe_scene(path, quality=told).digest

    one = QualityMask(SCL, str(mask(tmp_path / "1.tif", dtype="uint16", count=2)))
    same = QualityMask(SCL, str(tmp_path / "same.tif"))
    Path(same.uri).write_bytes(Path(one.uri).read_bytes())
    assert digest(one) == digest(same)
    clouds = np.full((2, 32, 32), 9, dtype=np.uint16)
    other = mask(tmp_path / "2.tif", dtype="uint16", count=2, pixels=clouds)
    found = {
        digest(None),
        digest(one),
        digest(replace(one, index=2)),
        digest(replace(one, kind=QA_PIXEL)),
        digest(QualityMask(SCL, str(other))),
    }
    assert len(found) == 5


def test_a_mask_of_a_turned_scene_is_compared_at_its_corners(tmp_path: Path) -> None:
    turned = (8.0, 6.0, 5e5, 6.0, -8.0, 5e6)
    path = rasters.write(tmp_path / "a.tif", transform=turned)
    coarse = mask(tmp_path / "m.tif", transform=(16.0, 12.0, 5e5, 12.0, -16.0, 5e6))
    scene: Scene = describe_scene(path, quality=QualityMask(SCL, str(coarse)))
    assert scene.quality is not None
    assert "same ground" in refusal(path, QualityMask(SCL, str(mask(tmp_path / "n.tif"))))
