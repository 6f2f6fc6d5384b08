"""What a run leaves behind, for every kind of model, read back by other readers than the writer."""

import json
import math
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyarrow.parquet
import pystac
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo.cogeo import cog_validate

from assets import reuse
from assets.outputs import write_outputs
from assets.plan import Plan
from assets.products import are_there, existing, products_of
from assets.summary import pooled, summarise
from constellation_pipelines.domain.model import Vectors
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.footprint import area_km2
from constellation_pipelines.inference.work_raster import Layout, WorkRaster, layouts, path_of
from constellation_pipelines.lake.files import RunFiles, on_model_grid
from constellation_pipelines.store.tiles import Source
from tests.assets.plans import (
    KINDS,
    UTM,
    card_of,
    fill,
    keep_writing,
    plan_of,
    rows_of,
    write,
)

COARSE = Grid("EPSG:32633", (20, 0, 500000, 0, -20, 5000000), 550, 650, 512, 512)
GRIDS = {
    "one pixel": replace(UTM, width_px=1, height_px=1),
    "a strip": replace(UTM, width_px=700, height_px=63),
    "rotated": Grid("EPSG:32633", (8, 6, 500000, 6, -8, 5000000), 300, 200, 512, 512),
    "geographic": Grid("EPSG:4326", (1e-4, 0, 12, 0, -1e-4, 50), 513, 512, 512, 512),
    "a pole": Grid("EPSG:3031", (500, 0, -60000, 0, -500, 70000), 260, 250, 512, 512),
    "180 degrees": Grid("EPSG:4326", (1e-3, 0, 179.9, 0, -1e-3, 10), 300, 200, 512, 512),
}


def written(plan: Plan) -> dict[str, Any]:
    """Fill, write, and the Item."""
    fill(plan)
    write(plan)
    item: dict[str, Any] = json.loads(plan.files.item.read_text())
    return item


def worked_out(plan: Plan, layout: Layout) -> Any:
    """A whole working raster (rows, columns, channels)."""
    grid = plan.fit.grid
    with WorkRaster(plan.files.work, layout, grid) as raster:
        return raster.read(Window(0, 0, grid.height_px, grid.width_px))


def assets_of(kind: str) -> set[str]:
    return set(products_of(card_of(kind), plan_of(Path("/lake"), kind).files))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
def test_every_product_is_there_wherever_the_scene_lies(
    tmp_path: Path, kind: str, grid: Grid
) -> None:
    plan = plan_of(tmp_path, kind, grid)
    item = written(plan)
    assert set(item["assets"]) == assets_of(kind) | {"predictions", "preview"}
    for name, path in products_of(plan.model.card, plan.files).items():
        if path.suffix == ".tif":
            assert cog_validate(str(path), strict=True) == (True, [], []), name
            with rasterio.open(path) as raster:
                assert raster.shape == (grid.height_px, grid.width_px)
                assert raster.transform[:6] == pytest.approx(grid.transform)
        else:
            found = geopandas.read_parquet(path)
            assert found.geometry.is_valid.all()
            assert not (found.geometry.bounds[["minx", "maxx"]].abs() > 180).any(axis=None)


def test_classes_and_scores_are_what_the_engine_wrote(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "segmentation")
    item = written(plan)
    for layout, path in zip(
        layouts(plan.model.card), (plan.files.classes, plan.files.scores), strict=True
    ):
        with rasterio.open(path) as raster:
            assert (raster.read(1) == worked_out(plan, layout)[:, :, 0]).all()
            assert raster.nodata == 255
    (band,) = item["assets"]["classes"]["bands"]
    assert band["classification:classes"][1]["name"] == plan.model.card.classes[1].name
    assert item["assets"]["scores"]["bands"][0]["unit"] == "%"


def test_the_item_tells_all_it_takes_to_make_the_outputs_again(tmp_path: Path) -> None:
    plan = replace(plan_of(tmp_path, "segmentation"), max_cloud_fraction=0.25)
    item = written(plan)
    properties = item["properties"]
    assert properties["constellation:model_digest"] == "model-digest"
    assert properties["constellation:scene_digest"] == "scene-digest"
    assert properties["constellation:bands"] == [1, 2, 3]
    assert properties["constellation:max_cloud_fraction"] == 0.25
    assert set(properties["processing:software"]) == {"constellation"}
    read = pystac.Item.from_dict(item)
    for asset in read.assets.values():
        assert (plan.files.item.parent / asset.href).is_file()
    kinds = {name: asset.media_type for name, asset in read.assets.items()}
    assert kinds["classes"] == kinds["scores"] == pystac.MediaType.COG
    assert kinds["vectors"] == kinds["predictions"] == "application/vnd.apache.parquet"
    assert kinds["preview"] == pystac.MediaType.PNG


def test_values_come_with_their_unit_and_figures(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "regression")
    (band,) = written(plan)["assets"]["values"]["bands"]
    assert (band["data_type"], band["nodata"], band["unit"]) == ("float32", "nan", "m")
    assert band["statistics"] == {"minimum": -20, "maximum": 20, "mean": 1, "stddev": 3}
    assert "vectors" not in existing(plan.model.card, plan.files)


def test_figures_of_tiles_pool_to_those_of_all_their_pixels() -> None:
    dice = np.random.default_rng(5)
    parts = [dice.normal(m, s, (20, width)) for m, s, width in ((1, 2, 30), (-4, 1, 5), (9, 3, 11))]
    tiles = [
        {
            "valid_fraction": 1.0,
            "height_px": 20,
            "width_px": part.shape[1],
            "statistics": {
                "min": part.min(),
                "max": part.max(),
                "mean": part.mean(),
                "std": part.std(),
            },
        }
        for part in parts
    ]
    nothing = {"valid_fraction": 0.0, "height_px": 20, "width_px": 20, "statistics": None}
    every = np.concatenate(parts, axis=1)
    assert pooled([*tiles, nothing]) == pytest.approx(
        {"min": every.min(), "max": every.max(), "mean": every.mean(), "std": every.std()}
    )
    assert pooled([nothing]) is None


# ---- embeddings ----


def test_an_embedding_is_a_row_with_its_chip_s_place(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "embedding")
    written(plan)
    schema = pyarrow.parquet.read_schema(plan.files.embeddings)
    kind = schema.field("embedding").type
    assert (kind.list_size, kind.value_type) == (7, pyarrow.float32())
    found = geopandas.read_parquet(plan.files.embeddings)
    rows, columns = math.ceil(1300 / 64), math.ceil(1100 / 64)
    (layout,) = layouts(plan.model.card)
    cells = worked_out(plan, layout)
    assert cells.shape == (rows, columns, 7)
    assert len(found) == (~np.isnan(cells[..., 0])).sum() < rows * columns
    for _, row in found.sample(20, random_state=1).iterrows():
        expected = cells[row.row_off_px // 64, row.col_off_px // 64]
        assert (np.array(row.embedding, np.float32) == expected).all()
    edge = found[found.row_off_px == 1280].iloc[0]
    assert edge.height_px == 20
    assert found.geometry.total_bounds[0] == pytest.approx(15.0, abs=1e-9)
    assert set(found.tile_digest) <= set(plan.digests.values())


def test_duckdb_finds_the_chips_that_look_alike(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "embedding")
    written(plan)
    near = duckdb.sql(f"""
        with one as (select embedding as asked from '{plan.files.embeddings}'
                      where row_off_px = 640 and col_off_px = 640)
        select row_off_px, col_off_px from '{plan.files.embeddings}', one
         order by list_distance(embedding, asked) limit 1
    """).fetchall()
    assert near == [(640, 640)]


def test_a_vector_with_a_number_that_is_none_is_no_row(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "embedding", replace(UTM, width_px=128, height_px=64))
    fill(plan)
    (layout,) = layouts(plan.model.card)
    vectors = np.ones((1, 2, 7), np.float32)
    vectors[0, 0, 3] = np.inf
    with WorkRaster(plan.files.work, layout, plan.fit.grid) as raster:
        raster.write(Window(0, 0, 64, 128), vectors)
    write(plan)
    assert geopandas.read_parquet(plan.files.embeddings).col_off_px.tolist() == [64]


# ---- vectors ----


def test_polygons_have_the_area_of_the_classes_they_are_made_of(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "segmentation")
    card = replace(plan.model.card, vectors=Vectors((0, 1, 2)))
    plan = replace(plan, model=replace(plan.model, card=card))
    written(plan)
    found = geopandas.read_parquet(plan.files.vectors)
    with rasterio.open(plan.files.classes) as raster:
        classes = raster.read(1)
    pixel_km2 = plan.scene.area_km2 / classes.size
    for value in (0, 1, 2):
        of_class = found[found.class_value == value]
        assert set(of_class.class_name) == {card.classes[value].name}
        assert of_class.area_km2.sum() == pytest.approx(
            (classes == value).sum() * pixel_km2, rel=1e-4
        )
    assert set(found.class_value) == {0, 1, 2}
    parts = [area_km2(geometry) for geometry in found.geometry.iloc[:50]]
    assert found.area_km2.iloc[:50].tolist() == pytest.approx(parts, rel=1e-6)


def test_no_polygon_is_smaller_than_the_card_says(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "segmentation")
    written(plan)
    found = geopandas.read_parquet(plan.files.vectors)
    assert 0.002 <= found.area_km2.min() < 0.01


def test_a_polygon_goes_on_over_the_seams_of_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, "segmentation")
    written(plan)
    whole = geopandas.read_parquet(plan.files.vectors)
    monkeypatch.setattr("assets.vectors.STRIP_PX", 37)
    write(plan)
    stripped = geopandas.read_parquet(plan.files.vectors)
    assert len(stripped) == len(whole)
    areas = [sorted(found.area_km2) for found in (whole, stripped)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-6)


# ---- a grid of the model's own ----


@pytest.mark.parametrize("kind", ["segmentation", "regression"])
def test_a_resampled_run_has_the_scene_s_grid_and_keeps_what_was_computed(
    tmp_path: Path, kind: str
) -> None:
    plan = plan_of(tmp_path, kind, UTM, COARSE)
    item = written(plan)
    product = layouts(plan.model.card)[0]
    path = products_of(plan.model.card, plan.files)["values" if kind == "regression" else "classes"]
    for raster_path, grid in ((path, UTM), (on_model_grid(path), COARSE)):
        assert cog_validate(str(raster_path), strict=True) == (True, [], [])
        with rasterio.open(raster_path) as raster:
            assert (raster.height, raster.width) == (grid.height_px, grid.width_px)
    with rasterio.open(on_model_grid(path)) as raster:
        assert raster.read(1).tobytes() == worked_out(plan, product).tobytes()
    assert item["properties"]["constellation:resampled"] is True
    assert item["assets"][f"{path.stem}-model-grid"]["roles"] == ["source"]


# ---- tiles of other runs ----


@pytest.mark.parametrize("worked", [None, COARSE], ids=["own grid", "resampled"])
@pytest.mark.parametrize("kind", KINDS)
def test_reused_tiles_are_copied_bit_by_bit(tmp_path: Path, kind: str, worked: Grid | None) -> None:
    first, second = (plan_of(tmp_path, kind, UTM, worked) for _ in range(2))
    written(first)
    reused = dict(list(second.digests.items())[::2])
    rest = tuple(window for window in second.digests if window not in reused)
    second = replace(second, todo=rest, reused=reused)
    fill(second)
    places = {name: path for name, path in existing(first.model.card, first.files).items()}
    reuse.copy_tiles(second, [Source(places, list(reused.values()))])
    for layout in layouts(second.model.card):
        one, other = (
            path_of(plan.files.work, layout.product).read_bytes() for plan in (first, second)
        )
        assert one == other
    write(second)
    assert contents(second.files) == contents(first.files)


def test_outputs_that_are_gone_leave_their_tiles_empty(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "classification")
    plan = replace(plan, todo=(), reused=dict(plan.digests))
    digests = list(plan.digests.values())
    gone = {"classes": str(tmp_path / "gone.tif"), "scores": None}
    reuse.copy_tiles(plan, [Source(gone, digests), Source({}, digests)])
    write(plan)
    assert not plan.files.classes.exists()
    assert set(json.loads(plan.files.item.read_text())["assets"]) == {"predictions"}


# ---- interruption, full disks ----


def contents(files: RunFiles) -> dict[str, Any]:
    """What the products of a run say, without the names of the run."""
    found: dict[str, Any] = {}
    for name in ("classes", "scores", "values"):
        path = getattr(files, name)
        if path.exists():
            with rasterio.open(path) as raster:
                found[name] = raster.read(1).tobytes()
    if files.embeddings.exists():
        table = geopandas.read_parquet(files.embeddings)
        found["embeddings"] = [
            (row.row_off_px, row.col_off_px, row.geometry.wkb, row.embedding.tobytes())
            for row in table.itertuples()
        ]
    if files.vectors.exists():
        table = geopandas.read_parquet(files.vectors)
        found["vectors"] = [(row.class_value, row.geometry.wkb) for row in table.itertuples()]
    found["preview"] = files.preview.read_bytes()
    return found


def hidden(lake: Path) -> list[Path]:
    return [path for path in lake.rglob(".*") if path.is_file()]


@dataclass(frozen=True)
class Writer:
    """A process that writes, and what it says."""

    process: ForkServerProcess
    said: Connection

    def complaint(self) -> str:
        """What it says before it gives up."""
        assert self.said.poll(60)
        said = str(self.said.recv())
        self.process.join(60)
        assert self.process.exitcode == 3
        return said


# Processes are forked from one that has loaded what they need, instead of loading it each.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["duckdb", "geopandas", "pyarrow.parquet", "tests.assets.plans"])


@contextmanager
def process_of(plan: Plan, lake: Path, kind: str, most_bytes: int) -> Iterator[Writer]:
    """A process that is about to write a plan's outputs; it has gone when this is left."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=keep_writing, args=(theirs, lake, kind, plan.run_id, most_bytes))
    process.start()
    theirs.close()
    try:
        assert ours.poll(60)
        assert ours.recv() == "ready"
        yield Writer(process, ours)
    finally:
        process.kill()
        process.join()
        ours.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_while_it_writes_ends_with_the_same_outputs(tmp_path: Path, kind: str) -> None:
    calm = plan_of(tmp_path / "calm", kind)
    written(calm)
    plan = plan_of(tmp_path / "lake", kind)
    windows = list(plan.todo)
    fill(plan, windows[: len(windows) // 2])
    dice = random.Random(kind)
    for _ in range(2):  # half the tiles, killed; then all of them, killed
        with process_of(plan, tmp_path / "lake", kind, -1):
            time.sleep(dice.uniform(0, 0.5))
        fill(plan)
    write(plan)
    assert contents(plan.files) == contents(calm.files)
    assert hidden(tmp_path / "lake") == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most_bytes", [100, 3000, 12_000])
def test_a_full_disk_is_a_clear_error_and_leaves_no_half_file(
    tmp_path: Path, kind: str, most_bytes: int
) -> None:
    plan = plan_of(tmp_path, kind)
    fill(plan)
    with process_of(plan, tmp_path, kind, most_bytes) as writer:
        said = writer.complaint()
    assert said.startswith("the outputs cannot be written: ")
    assert "Make room in the lake, then retry the job" in said
    assert "Traceback" not in said
    assert hidden(tmp_path) == []
    assert not plan.files.item.exists()
    write(plan)
    assert are_there(plan.model.card, plan.files)


def test_what_was_there_before_a_full_disk_is_still_there(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "segmentation")
    written(plan)
    before = {path: path.read_bytes() for path in plan.files.all() if path.exists()}
    with process_of(plan, tmp_path, "segmentation", 5000) as writer:
        writer.complaint()
    after = {path: path.read_bytes() for path in plan.files.all() if path.exists()}
    large = {path for path, content in before.items() if len(content) > 5000}
    assert large
    assert all(after[path] == before[path] for path in large)


# ---- tiles that were left out ----


def test_skipped_tiles_are_neither_failed_nor_covered(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "classification")
    rows = rows_of(plan)
    rows[0] |= {"state": TileState.SKIPPED, "class_counts": {}, "top_class": None}
    rows[0] |= {"confidence": None, "cloud_fraction": 0.9}
    fill(plan, [window for window in plan.todo if window != next(iter(plan.digests))])
    summary = summarise(plan, rows)
    assert (summary.completed, summary.failed, summary.skipped) == (len(rows) - 1, 0, 1)
    assert summary.area_km2 == pytest.approx(sum(row["area_km2"] for row in rows[1:]))
    write_outputs(plan, rows, summary)
    states = duckdb.sql(f"""
        select state, count(*)::int, max(cloud_fraction) from '{plan.files.predictions}'
         group by 1 order by 1
    """).fetchall()
    assert states == [("COMPLETED", len(rows) - 1, None), ("SKIPPED", 1, 0.9)]
    with rasterio.open(plan.files.classes) as raster:
        assert (raster.read(1, window=((0, 512), (0, 512))) == 255).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_preview_is_small_coloured_and_clear_where_there_is_nothing(
    tmp_path: Path, kind: str
) -> None:
    plan = plan_of(tmp_path, kind)
    written(plan)
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(plan.files.preview) as picture:
        pixels = picture.read()
    assert pixels.shape[0] == 4
    assert max(pixels.shape[1:]) <= 512
    assert 0 < (pixels[3] == 0).mean() < 0.2
    shown = pixels[:3, pixels[3] == 255]
    assert len(np.unique(shown, axis=1).T) >= 4
