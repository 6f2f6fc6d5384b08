"""A run of every kind of model, from its plan to its STAC Item, with a tiny network of its own."""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from assets.committer import Committer, Tried
from assets.conclusion import conclude
from assets.plan import Options, Plan, make_plan
from assets.predicting import order_of
from assets.products import products_of
from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.inference.predict import predict
from constellation_pipelines.inference.protocol import PredictOrder, tile_from_json, tile_to_json
from constellation_pipelines.inference.work_raster import layouts
from constellation_pipelines.store import models, scenes
from constellation_pipelines.store.database import Database
from resources.lake import LakeResource
from tests.api.service import NORTH_M, WEST_M, write_raster
from tests.assets.plans import KINDS, PACKAGE
from tests.assets.test_going_on import NO_DEVICE, document
from tests.inference.networks import network_of
from tests.store.test_queue import claimed, run, worker

CLOUD, GROUND = 9, 4
GSD_M = {"own grid": 10.0, "resampled": 20.0}


def write_mask(path: Path) -> QualityMask:
    """A scene classification of 20 m: the first 512 pixels of the scene are clouded."""
    classes = np.full((512, 512), GROUND, np.uint8)
    classes[:256, :256] = CLOUD
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(20, 0, WEST_M, 0, -20, NORTH_M)}
    size = {"count": 1, "height": 512, "width": 512, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **size, **place) as raster:
        raster.write(classes, 1)
    return QualityMask(QualityKind.SCL, str(path))


def computed(plan: Plan) -> list[TileResult]:
    """What an engine finds, by way of the lines that it would be asked and answer in."""
    asked = order_of(plan, plan.files.work).to_json() | {
        "windows": [[w.row_off_px, w.col_off_px, w.height_px, w.width_px] for w in plan.todo]
    }
    order = PredictOrder.from_json(json.loads(json.dumps(asked)))
    found = predict(order, network_of(plan.model.card), cancelled=lambda: False)
    return [tile_from_json(json.loads(json.dumps(tile_to_json(one)))) for one in found]


@pytest.mark.parametrize("gsd_m", GSD_M.values(), ids=list(GSD_M))
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_from_its_plan_to_its_item(
    database: Database, tmp_path: Path, kind: str, gsd_m: float
) -> None:
    card = document(kind)
    if gsd_m != 10:
        sizes = {"gsd_min_m": gsd_m, "gsd_max_m": 25, "gsd_m": gsd_m, "gsd_policy": "resample"}
        card["properties"] |= {f"constellation:{name}": value for name, value in sizes.items()}
    model = Model(new_id(), "d" * 64, str(PACKAGE), parse_card(card), card)
    scene = describe_scene(write_raster(tmp_path / "coast.tif"), quality=write_mask(tmp_path / "m"))
    with database.transaction() as connection:
        saved, added = models.save(connection, model), scenes.add(connection, scene)
    run_id = run(database)
    database.execute(
        "update constellation.runs set scene_id = %s, model_id = %s where id = %s",
        (added.id, saved.id, run_id),
    )
    lease = claimed(database, worker(database)).lease
    with database.transaction() as connection:
        plan = make_plan(
            connection,
            run_id,
            scene_key=added.key,
            model_name=saved.card.name,
            options=Options(max_cloud_fraction=0.5),
            lake=LakeResource(root=str(tmp_path / "lake")),
        )
    assert plan.fit.resampled == (gsd_m != 10)
    results = computed(plan)
    Committer(database, lease, plan).commit([Tried(one) for one in results])
    found = conclude(database, plan, Options(), NO_DEVICE, lease)

    assert all(check.passed for check in found.check_results or [])
    states = [one.state for one in results]
    skipped = 1 if gsd_m == 10 else 0  # at 20 m the scene is one tile, a quarter of it clouded
    assert states.count(TileState.SKIPPED) == skipped
    assert states.count(TileState.COMPLETED) == len(plan.todo) - skipped
    check_products(plan)
    row = database.fetch_one("select metrics from constellation.runs where id = %s", (run_id,))
    assert row is not None
    check_figures(plan, row["metrics"], skipped)


def check_products(plan: Plan) -> None:
    for name, path in products_of(plan.model.card, plan.files).items():
        if path.suffix == ".tif":
            assert cog_validate(str(path), strict=True) == (True, [], []), name
            with rasterio.open(path) as raster:
                assert raster.shape == (1024, 1024)
                assert raster.read_masks(1).any()
        elif name == "embeddings":
            rows, columns, _ = layouts(plan.model.card)[0].shape(plan.fit.grid)
            clouded = 0 if plan.fit.resampled else 64
            assert len(geopandas.read_parquet(path)) == rows * columns - clouded


def check_figures(plan: Plan, metrics: dict[str, Any], skipped: int) -> None:
    """The figures are those of the raster on the model's grid."""
    card = plan.model.card
    if card.task is Task.REGRESSION and not plan.fit.resampled:
        with rasterio.open(plan.files.values) as raster:
            values = raster.read(1)
        values = values[~np.isnan(values)].astype(np.float64)
        assert len(values) == (1024 * 1024) - skipped * 512 * 512
        expected = {"min": values.min(), "max": values.max(), "mean": values.mean()}
        expected["std"] = values.std()
        assert metrics["statistics"] == pytest.approx(expected, rel=1e-4)
    if card.task is Task.SEGMENTATION and not plan.fit.resampled:
        with rasterio.open(plan.files.classes) as raster:
            found, counts = np.unique(raster.read(1), return_counts=True)
        names = {one.value: one.name for one in card.classes}
        in_raster = {names[v]: int(n) for v, n in zip(found, counts, strict=True) if v != 255}
        assert metrics["class_counts"] == in_raster
