"""Plans of every kind of model over made-up scenes, and working rasters filled for them.

What a tile holds depends on its place alone, so that any two runs of a plan must agree.
"""

import resource
import sys
import zlib
from collections.abc import Iterable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from assets.outputs import write_outputs
from assets.plan import Plan
from assets.summary import summarise
from constellation_pipelines.domain.errors import RunFailed
from constellation_pipelines.domain.fit import Fit
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.model import Model, ModelCard, Task, Vectors
from constellation_pipelines.domain.scene import Band, Grid, Scene
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import tile_digest
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.footprint import area_km2, grid_footprint
from constellation_pipelines.geo.place import Places
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.work_raster import Layout, Product, WorkRaster, layouts
from constellation_pipelines.lake.files import files_of_run

PACKAGE = Path(__file__).parent.parent.parent / "models" / "eurosat-landcover" / "1"
DAY = "2026-11-25"
KINDS = ("classification", "segmentation", "regression", "embedding")
UTM = Grid("EPSG:32633", (10, 0, 500000, 0, -10, 5000000), 1100, 1300, 512, 512)


def card_of(kind: str) -> ModelCard:
    """A card of each kind of model; none of them is ever run here."""
    card = load_package(PACKAGE).card
    if kind == "classification":
        return replace(card, scores=True)
    if kind == "segmentation":
        vectors = Vectors((0, 1, 2), min_area_m2=2000)
        dense = replace(card, task=Task.SEGMENTATION, chip_px=256, halo_px=32)
        return replace(dense, scores=True, vectors=vectors)
    if kind == "regression":
        dense = replace(card, task=Task.REGRESSION, chip_px=256, halo_px=32)
        return replace(dense, classes=(), channels=1, unit="m")
    return replace(card, task=Task.EMBEDDING, classes=(), channels=7)


def plan_of(lake: Path, kind: str, grid: Grid = UTM, worked: Grid | None = None) -> Plan:
    """A plan of all tiles of a scene; where `worked` is given, resampled to it."""
    card = card_of(kind)
    footprint = grid_footprint(grid)
    bands = tuple(
        Band(index, name, name, "uint8") for index, name in enumerate(("red", "green", "blue"), 1)
    )
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    times = {"datetime": "2026-06-01T10:00:00Z", "gsd": 10.0, "proj:code": grid.crs}
    scene = Scene(
        new_id(),
        "coast",
        "/scenes/coast.tif",
        "scene-digest",
        grid,
        bands,
        None,
        10.0,
        geometry,
        area_km2(footprint),
        item={"geometry": geometry, "bbox": [0, 0, 1, 1], "properties": times},
    )
    model = Model(new_id(), "model-digest", str(PACKAGE), card, {})
    fitted = Fit(bands, False, worked or grid, resampled=worked is not None)
    run_id = new_id()
    windows = tile_windows(fitted.grid, card.tile_unit_px)
    digests = {
        window: tile_digest("scene-digest", "model-digest", window, "local") for window in windows
    }
    files = files_of_run(lake, run_id=str(run_id), model=card.reference, date=DAY)
    return Plan(
        run_id,
        new_id(),
        scene,
        model,
        fitted,
        files,
        digests,
        tuple(windows),
        {},
        Places(fitted.grid),
    )


def cells_of(layout: Layout, window: Window) -> NDArray[Any]:
    """What a tile holds in one working raster: blobs, a hole, noise at the edges of blobs."""
    rows, columns = layout.cells(window)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    row = np.arange(rows.start, rows.stop)[:, None] * layout.cell_px
    column = np.arange(columns.start, columns.stop)[None] * layout.cell_px
    waves = np.sin(row / 90) + np.cos(column / 70) + np.sin((row + 2 * column) / 150)
    hole = (row % 700 < 60) & (column % 500 < 80)
    if layout.product is Product.CLASS:
        dice = np.random.default_rng(zlib.crc32(repr(window).encode()))
        noise = np.where(dice.random(shape) < 0.01, 3, 0)
        found = (np.floor((waves + 3) / 1.2) + noise).clip(0, 9)
        return np.where(hole, 255, found).astype(np.uint8)
    if layout.product is Product.SCORE:
        return np.where(hole, 255, 50 + 15 * waves).clip(0, 255).astype(np.uint8)
    if layout.product is Product.VALUE:
        return np.where(hole, np.nan, waves * 10).astype(np.float32)
    channels = np.arange(1, layout.channels + 1)
    vectors: NDArray[Any] = (waves[..., None] * channels).astype(np.float32)
    vectors[hole] = np.nan
    return vectors


def fill(plan: Plan, windows: Iterable[Window] | None = None) -> None:
    """Write tiles into the plan's working rasters, as an engine does."""
    plan.files.work.mkdir(parents=True, exist_ok=True)
    for layout in layouts(plan.model.card):
        with WorkRaster(plan.files.work, layout, plan.fit.grid) as raster:
            for window in plan.todo if windows is None else windows:
                raster.write(window, cells_of(layout, window))


def rows_of(plan: Plan) -> list[dict[str, Any]]:
    """The tiles' rows, as the database gives them back."""
    places = plan.places.of(list(plan.digests))
    card = plan.model.card
    figures = {"min": -20.0, "max": 20.0, "mean": 1.0, "std": 3.0}
    counts = {"0": 3, "1": 1} if card.classes else {}
    return [
        {
            "digest": digest,
            "row_off_px": window.row_off_px,
            "col_off_px": window.col_off_px,
            "height_px": window.height_px,
            "width_px": window.width_px,
            "state": TileState.COMPLETED,
            "footprint": place.footprint.wkb,
            "area_km2": place.area_km2,
            "class_counts": counts,
            "top_class": 0 if card.classes else None,
            "confidence": 0.9 if card.classes else None,
            "valid_fraction": 1.0,
            "cloud_fraction": None,
            "statistics": figures if card.task is Task.REGRESSION else None,
            "gsd_mismatch": False,
            "read_ms": 1.0,
            "infer_ms": 2.0,
            "error": None,
            "created_at": None,
        }
        for (window, digest), place in zip(plan.digests.items(), places, strict=True)
    ]


def write(plan: Plan) -> None:
    """Write a plan's outputs."""
    rows = rows_of(plan)
    write_outputs(plan, rows, summarise(plan, rows))


def keep_writing(said: Connection, lake: Path, kind: str, run_id: UUID, most_bytes: int) -> None:
    """A run's process that writes its outputs, to be killed or to meet a full disk.

    Once all is loaded it says "ready". A negative `most_bytes` is no limit, and no end either; 0 is
    no limit. What it cannot do it says, and ends with 3.
    """
    plan = plan_of(lake, kind)
    reference = plan.model.card.reference
    files = files_of_run(lake, run_id=str(run_id), model=reference, date=DAY)
    plan = replace(plan, files=files)
    if most_bytes < 0:
        write(plan)
    said.send("ready")
    if most_bytes > 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        write(plan)
        while most_bytes < 0:
            write(plan)
    except RunFailed as error:
        said.send(error.message)
        sys.exit(3)
