"""A run that is interrupted, retried or finds tiles done ends as if it had run through, for every
kind of model: real database, files and checks; an engine's part is played by hand.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
import rasterio

from assets import adoption
from assets.committer import Committer, Tried
from assets.conclusion import conclude
from assets.plan import Options, Plan, make_plan
from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.store import models, queue, scenes
from constellation_pipelines.store.database import Database
from resources.lake import LakeResource
from tests.api.service import write_raster
from tests.assets.plans import KINDS, PACKAGE, fill
from tests.assets.test_outputs import contents
from tests.store.test_queue import claimed, finish, run, worker

NO_DEVICE = {"device": None, "simulated": None, "device_s": 0.0}
CLOUDY = 0.9
MOST_CLOUDS = 0.5


def document(kind: str) -> dict[str, Any]:
    """A card of this kind of model."""
    found: dict[str, Any] = json.loads((PACKAGE / "model.json").read_text())
    properties = found["properties"]
    output = properties["mlm:output"][0]
    px = properties["constellation:chip_px"]
    if kind in ("segmentation", "regression"):
        properties["constellation:halo_px"] = 8
    if kind == "segmentation":
        properties["mlm:tasks"] = [Task.SEGMENTATION.value]
        output["result"]["shape"] = [-1, 10, px, px]
        properties["constellation:vectors"] = {"values": [0, 1], "min_area_m2": 5000}
    if kind == "regression":
        properties["mlm:tasks"] = [Task.REGRESSION.value]
        output["result"]["shape"] = [-1, 1, px, px]
        properties["constellation:unit"] = "m"
    if kind == "embedding":
        properties["mlm:tasks"] = [Task.EMBEDDING.value]
        output["result"]["shape"] = [-1, 7]
    if kind in ("classification", "segmentation"):
        properties["constellation:scores"] = True
    properties["mlm:name"] = kind
    return found


@dataclass
class Site:
    """A database with a model and a scene of four tiles, and a lake."""

    database: Database
    lake: LakeResource
    model: Model
    scene_key: str
    scene_id: UUID
    worker_id: UUID

    def begin(self, job_of: UUID | None = None) -> queue.Lease:
        """A claimed run of a job of its own, or of the job of this run."""
        run_id = run(self.database)
        self.database.execute(
            "update constellation.runs set scene_id = %s, model_id = %s where id = %s",
            (self.scene_id, self.model.id, run_id),
        )
        if job_of is not None:
            self.database.execute(
                "update constellation.runs set job_id = "
                "(select job_id from constellation.runs where id = %s) where id = %s",
                (job_of, run_id),
            )
        return claimed(self.database, self.worker_id).lease

    def end(self, lease: queue.Lease, state: str) -> None:
        finish(self.database, lease, 0)
        self.database.execute(
            "update constellation.runs set state = %s where id = %s", (state, lease.run_id)
        )

    def plan(self, lease: queue.Lease, **options: Any) -> Plan:
        with self.database.transaction() as connection:
            return make_plan(
                connection,
                lease.run_id,
                scene_key=self.scene_key,
                model_name=self.model.card.name,
                options=Options(max_cloud_fraction=MOST_CLOUDS, **options),
                lake=self.lake,
            )

    def compute(self, lease: queue.Lease, plan: Plan, windows: list[Window]) -> None:
        """What an engine and the run's process do with tiles: pixels first, rows after. The last
        tile of the scene is too cloudy.
        """
        last = list(plan.digests)[-1]
        fill(plan, [window for window in windows if window != last])
        committer = Committer(self.database, lease, plan)
        committer.commit([Tried(result_of(plan, window, window == last)) for window in windows])

    def conclude(self, lease: queue.Lease, plan: Plan) -> "dg.MaterializeResult[Any]":
        found = conclude(self.database, plan, Options(), NO_DEVICE, lease)
        assert all(check.passed for check in found.check_results or [])
        self.end(lease, "COMPLETED")
        return found

    def run_through(self, **options: Any) -> Plan:
        """A run that nothing disturbs."""
        lease = self.begin()
        plan = self.plan(lease, **options)
        self.compute(lease, plan, list(plan.todo))
        self.conclude(lease, plan)
        return plan

    def counts(self, run_id: UUID) -> tuple[int, int, int, int]:
        """Planned, reused, completed, skipped."""
        row = self.database.fetch_one(
            "select tiles_planned, tiles_reused, tiles_completed, tiles_skipped "
            "from constellation.runs where id = %s",
            (run_id,),
        )
        assert row is not None
        planned, reused, completed, skipped = row.values()
        return planned, reused, completed, skipped


def result_of(plan: Plan, window: Window, cloudy: bool) -> TileResult:
    if cloudy:
        return TileResult(window, TileState.SKIPPED, valid_fraction=1, cloud_fraction=CLOUDY)
    card = plan.model.card
    done = TileResult(window, TileState.COMPLETED, valid_fraction=1.0, cloud_fraction=0.1)
    if card.task is Task.REGRESSION:
        return replace(done, statistics={"min": 0.0, "max": 2.0, "mean": 1.0, "std": 0.5})
    counts = {0: 40, 1: 24} if card.classes else {}
    return replace(done, class_counts=counts, confidence=0.75 if counts else None)


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Site:
    card = document(request.param)
    model = Model(new_id(), "d" * 64, str(PACKAGE), parse_card(card), card)
    scene = describe_scene(write_raster(tmp_path / "coast.tif"))
    with database.transaction() as connection:
        saved = models.save(connection, model)
        added = scenes.add(connection, scene)
        connection.execute(
            "update constellation.scenes set quality = %s",
            ('{"kind": "scl", "uri": "/scl.tif", "index": 1}',),
        )
    lake = LakeResource(root=str(tmp_path / "lake"))
    return Site(database, lake, saved, added.key, added.id, worker(database, devices=4))


def test_an_interrupted_run_goes_on_and_ends_with_the_same_outputs(site: Site) -> None:
    calm = site.run_through()
    lease = site.begin()
    first = site.plan(lease, reuse=False)
    assert len(first.todo) == 4
    site.compute(lease, first, list(first.todo[:2]))
    second = site.plan(lease, reuse=False)  # another process of the same run
    assert second.todo == first.todo[2:]
    site.compute(lease, second, list(second.todo))
    site.conclude(lease, second)
    assert site.counts(lease.run_id) == (4, 0, 3, 1)
    assert contents(second.files) == contents(calm.files)


def test_a_run_that_died_while_it_reported_finds_its_outputs(site: Site) -> None:
    plan = site.run_through()
    before = contents(plan.files)
    lease = queue.Lease(plan.run_id, 0)
    for path in plan.files.work.iterdir():
        path.unlink()
    plan.files.work.rmdir()
    again = site.plan(lease)
    assert again.todo == ()
    assert contents(again.files) == before


def test_a_retry_ends_with_the_same_outputs_and_clears_the_first_run_s_away(site: Site) -> None:
    calm = site.run_through()
    lease = site.begin()
    first = site.plan(lease, reuse=False)
    site.compute(lease, first, [first.todo[0], first.todo[3]])
    site.end(lease, "FAILED")

    again = site.begin(job_of=lease.run_id)
    planned = site.plan(again, reuse=False)
    assert planned.retried
    plan = adoption.adopt(site.database, again, planned, site.lake)
    assert plan.todo == (planned.todo[1], planned.todo[2])
    site.compute(again, plan, list(plan.todo))
    site.conclude(again, plan)
    assert site.counts(again.run_id) == (4, 0, 3, 1)
    assert contents(plan.files) == contents(calm.files)


def test_a_run_that_finds_every_tile_done_has_outputs_of_its_own(site: Site) -> None:
    first = site.run_through()
    lease = site.begin()
    plan = site.plan(lease)
    assert plan.todo == ()
    result = site.conclude(lease, plan)
    assert site.counts(lease.run_id) == (4, 4, 0, 0)
    assert contents(plan.files) == contents(first.files)
    assert result.metadata is not None
    assert result.metadata["tiles_reused"] == 4
    assert "preview" in result.metadata


def test_what_was_skipped_is_done_again_for_another_share_of_clouds(site: Site) -> None:
    site.run_through()
    lease = site.begin()
    with site.database.transaction() as connection:
        plan = make_plan(
            connection,
            lease.run_id,
            scene_key=site.scene_key,
            model_name=site.model.card.name,
            options=Options(max_cloud_fraction=0.95),
            lake=site.lake,
        )
    assert len(plan.todo) == 4


def test_the_run_says_what_it_found_and_in_which_unit(site: Site) -> None:
    plan = site.run_through()
    row = site.database.fetch_one(
        "select metrics from constellation.runs where id = %s", (plan.run_id,)
    )
    assert row is not None
    metrics, card = row["metrics"], plan.model.card
    assert metrics["task"] == card.task.value
    assert metrics["class_counts_unit"] == ("pixel" if card.dense else "chip")
    assert metrics["unit"] == ("m" if card.task is Task.REGRESSION else None)
    assert sum(metrics["class_counts"].values()) == (192 if card.classes else 0)
    figures = {"min": 0.0, "max": 2.0, "mean": 1.0, "std": 0.5}
    assert metrics["statistics"] == (figures if card.task is Task.REGRESSION else None)
    for path in metrics["outputs"].values():
        assert Path(path).is_file()


def test_skipped_tiles_are_holes(site: Site) -> None:
    plan = site.run_through()
    for name in ("classes", "values"):
        path = getattr(plan.files, name)
        if path.exists():
            with rasterio.open(path) as raster:
                mask = raster.read_masks(1)
            last = list(plan.digests)[-1]
            assert not mask[last.row_off_px :, last.col_off_px :].any()
            assert mask.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_costs_its_tile_and_no_other(site: Site, bad: float) -> None:
    lease = site.begin()
    plan = site.plan(lease)
    fill(plan)
    first, *rest = (result_of(plan, window, cloudy=False) for window in plan.todo)
    figures = {"min": 0.0, "max": bad, "mean": 1.0, "std": 0.5}
    spoilt = replace(first, confidence=bad)
    if plan.model.card.task is Task.REGRESSION:
        spoilt = replace(first, statistics=figures)
    Committer(site.database, lease, plan).commit([Tried(one) for one in (spoilt, *rest)])
    result = site.conclude(lease, plan)
    assert result.metadata is not None
    assert result.metadata["tiles_failed"] == 1
    rows = site.database.fetch_all("select error from constellation.tiles where state = 'FAILED'")
    assert rows == [{"error": "the model's answer holds numbers that are NaN or infinite"}]
