"""The rasters of a run, written from its working rasters."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.model import Model, ModelCard, Task
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.products import raster_layouts, write_raster
from constellation_pipelines.inference.work_raster import Layout, Product, WorkRaster

CLASS = Layout(Product.CLASS, np.uint8)
TAGS = {"model": "of the caller", "gsd_mismatch": "true", "run_id": "r"}


def grid(height_px: int, width_px: int) -> Grid:
    return Grid("EPSG:32633", (10, 0, 500000, 0, -10, 5000000), width_px, height_px, 512, 512)


def opened(work: Path, of: Grid, layout: Layout = CLASS) -> WorkRaster:
    work.mkdir(exist_ok=True)
    return WorkRaster(work, layout, of)


def write_cog(work: Path, of: Grid, card: ModelCard, out: Path, tags: dict[str, str]) -> None:
    write_raster(work, CLASS, (of, of), card, out, tags)


def fill(work: Path, of: Grid, *values: tuple[Window, int]) -> None:
    with opened(work, of) as raster:
        for window, value in values:
            shape = (window.height_px, window.width_px)
            raster.write(window, np.full(shape, value, np.uint8))


@pytest.mark.parametrize(("height_px", "width_px"), [(1, 1), (63, 700), (1300, 1100)])
def test_the_cog_is_valid_and_has_every_pixel(
    tmp_path: Path, model: Model, height_px: int, width_px: int
) -> None:
    of, out = grid(height_px, width_px), tmp_path / "deep" / "classes.tif"
    expected = np.random.default_rng(3).integers(0, 10, (height_px, width_px)).astype(np.uint8)
    with opened(tmp_path / "work", of) as raster:
        raster.write(Window(0, 0, height_px, width_px), expected)
    write_cog(tmp_path / "work", of, model.card, out, TAGS)
    assert cog_validate(str(out), strict=True) == (True, [], [])
    with rasterio.open(out) as cog:
        assert (cog.read(1) == expected).all()
        assert cog.transform[:6] == of.transform
        assert cog.crs.to_epsg() == 32633
        assert cog.compression.name == "zstd"


def test_what_no_tile_wrote_is_nodata(tmp_path: Path, model: Model) -> None:
    of = grid(600, 700)
    fill(tmp_path / "work", of, (Window(512, 64, 88, 100), 0), (Window(0, 512, 64, 64), 255))
    write_cog(tmp_path / "work", of, model.card, tmp_path / "out.tif", TAGS)
    with rasterio.open(tmp_path / "out.tif") as cog:
        pixels = cog.read(1)
        assert cog.nodata == 255
        assert (pixels[512:600, 64:164] == 0).all()
        assert (pixels == 255).sum() == 600 * 700 - 88 * 100


def test_a_second_attempt_goes_on_with_what_the_first_wrote(tmp_path: Path, model: Model) -> None:
    of = grid(100, 100)
    fill(tmp_path / "work", of, (Window(0, 0, 50, 100), 3))
    fill(tmp_path / "work", of, (Window(50, 0, 50, 100), 4))
    write_cog(tmp_path / "work", of, model.card, tmp_path / "out.tif", TAGS)
    with rasterio.open(tmp_path / "out.tif") as cog:
        assert np.unique(cog.read(1), return_counts=True)[1].tolist() == [5000, 5000]


def test_the_working_file_takes_no_room_where_nothing_was_written(tmp_path: Path) -> None:
    of = grid(20_000, 20_000)
    fill(tmp_path / "work", of, (Window(10_000, 0, 64, 64), 1))
    status = (tmp_path / "work" / "class.blocks").stat()
    assert status.st_size == 400_000_000
    assert status.st_blocks * 512 < 2_000_000


def test_a_working_file_of_another_scene_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "work", grid(10, 10))
    with (
        pytest.raises(InvalidInput, match="another size"),
        WorkRaster(tmp_path / "work", CLASS, grid(10, 11)),
    ):
        pass


def test_it_says_what_its_classes_are(tmp_path: Path, model: Model) -> None:
    fill(tmp_path / "work", grid(10, 10))
    write_cog(tmp_path / "work", grid(10, 10), model.card, tmp_path / "out.tif", TAGS)
    with rasterio.open(tmp_path / "out.tif") as cog:
        tags, colours = cog.tags(), cog.colormap(1)
    assert tags["model"] == "eurosat-landcover@1"
    assert (tags["gsd_mismatch"], tags["run_id"]) == ("true", "r")
    assert json.loads(tags["classes"])["9"] == "SeaLake"
    assert colours[1] == (*bytes.fromhex(model.card.classes[1].color[1:]), 255)
    assert colours[255][3] == 0


def test_a_raster_that_fails_to_be_written_leaves_the_old_one_and_no_scraps(
    tmp_path: Path, model: Model
) -> None:
    of, out = grid(10, 10), tmp_path / "out" / "classes.tif"
    fill(tmp_path / "work", of)
    write_cog(tmp_path / "work", of, model.card, out, TAGS)
    before = out.read_bytes()
    with pytest.raises(InvalidInput, match="another size"):
        write_cog(tmp_path / "work", grid(20, 10), model.card, out, TAGS)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["classes.tif"]


# ---- scores, values ----


def test_scores_are_per_cent_beside_the_classes(tmp_path: Path, model: Model) -> None:
    card = replace(model.card, scores=True)
    _, scores = raster_layouts(card)
    of = grid(700, 600)
    expected = np.random.default_rng(3).integers(0, 101, (700, 600)).astype(np.uint8)
    expected[600:] = 255
    with opened(tmp_path / "work", of, scores) as raster:
        raster.write(Window(0, 0, 600, 600), expected[:600])
    write_raster(tmp_path / "work", scores, (of, of), card, tmp_path / "s.tif", TAGS)
    assert cog_validate(str(tmp_path / "s.tif"), strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "s.tif") as cog:
        assert (cog.read(1) == expected).all()
        assert (cog.dtypes, cog.nodata, cog.units, cog.descriptions) == (
            ("uint8",),
            255,
            ("%",),
            ("score",),
        )


def regression(model: Model) -> ModelCard:
    return replace(model.card, task=Task.REGRESSION, classes=(), channels=1, unit="m")


@pytest.mark.parametrize(("height_px", "width_px"), [(1, 1), (63, 700), (1300, 1100)])
def test_values_are_numbers_with_their_unit(
    tmp_path: Path, model: Model, height_px: int, width_px: int
) -> None:
    card, of, out = regression(model), grid(height_px, width_px), tmp_path / "values.tif"
    (layout,) = raster_layouts(card)
    expected = np.random.default_rng(3).normal(0, 1e3, (height_px, width_px)).astype(np.float32)
    expected[height_px // 2 :, width_px // 2 :] = np.nan
    with opened(tmp_path / "work", of, layout) as raster:
        raster.write(Window(0, 0, height_px, width_px), expected)
    write_raster(tmp_path / "work", layout, (of, of), card, out, TAGS)
    assert cog_validate(str(out), strict=True) == (True, [], [])
    with rasterio.open(out) as cog:
        assert cog.read(1).tobytes() == expected.tobytes()
        assert (cog.dtypes, cog.units, cog.descriptions) == (("float32",), ("m",), ("value",))
        assert np.isnan(cog.nodata)
        assert cog.tags()["model"] == "eurosat-landcover@1"
        assert "classes" not in cog.tags()


def test_a_model_that_saw_larger_pixels_still_fills_the_scene_s_own_grid(
    tmp_path: Path, model: Model
) -> None:
    worked = Grid("EPSG:32633", (30, 0, 500000, 0, -30, 5000000), 300, 400, 512, 512)
    scene = Grid("EPSG:32633", (10, 0, 500000, 0, -10, 5000000), 900, 1200, 512, 512)
    expected = np.random.default_rng(3).integers(0, 10, (400, 300)).astype(np.uint8)
    with opened(tmp_path / "work", worked) as raster:
        raster.write(Window(0, 0, 400, 300), expected)
    out = tmp_path / "out.tif"
    write_raster(tmp_path / "work", CLASS, (worked, scene), model.card, out, TAGS)
    assert cog_validate(str(out), strict=True) == (True, [], [])
    with rasterio.open(out) as cog:
        assert (cog.shape, cog.transform[:6]) == ((1200, 900), scene.transform)
        assert (cog.read(1) == expected.repeat(3, axis=0).repeat(3, axis=1)).all()
