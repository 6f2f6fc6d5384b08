"""A remote scene gives the tiles and the class raster of the same file here, to the bit.

Engines, database and sockets are real; pixels come while the run is at work.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assets.committer import Committer
from assets.crew import Hand
from assets.pixels import localised
from assets.plan import Plan
from assets.predicting import Prediction
from constellation_pipelines.domain.errors import PixelsLate
from constellation_pipelines.remote import fetching
from constellation_pipelines.remote.fetching import Fetcher
from constellation_pipelines.remote.hosts import Allowed
from constellation_pipelines.remote.needs import Needs
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.remote.scenes import Description, describe_remote, open_mirror
from constellation_pipelines.store import profiles
from constellation_pipelines.store.database import Database
from tests.assets.test_prediction import Run, Site, start
from tests.remote.range_server import RangeServer, serving

SCENE = "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


@pytest.fixture
def server(sample_data: Path) -> Iterator[RangeServer]:
    with serving(**{"a.tif": (sample_data / "scenes" / SCENE).read_bytes()}) as started:
        yield started


@pytest.fixture
def run(database: Database, site: Site, tmp_path: Path, sample_data: Path) -> Run:
    return start(database, site, tmp_path / "lake", sample_data / "scenes" / SCENE)


def classes(plan: Plan) -> dict[str, bytes]:
    """The run's working rasters, byte for byte."""
    return {one.name: one.read_bytes() for one in sorted(plan.files.work.iterdir())}


def counts(run: Run) -> list[tuple[int, int, object]]:
    rows = run.database.fetch_all(
        "select row_off_px, col_off_px, class_counts from constellation.tiles order by 1, 2"
    )
    return [(row["row_off_px"], row["col_off_px"], row["class_counts"]) for row in rows]


def predict(run: Run, plan: Plan, pixels: object) -> None:
    with run.database.transaction() as connection:
        (known,) = profiles.of_devices(
            connection,
            [run.site.devices[0].uuid],
            plan.model.digest,
            plan.model.card.chip_px,
        )
    hand = Hand(known, run.site.client(run.site.devices[0]))
    committer = Committer(run.database, run.lease, plan)
    prediction = Prediction(committer, [hand], lambda _: None, run.warnings.append, pixels)  # type: ignore[arg-type]
    prediction.run(plan.files.work, {})


def test_pixels_that_come_one_after_the_other_give_the_same_result_to_the_bit(
    run: Run, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run.plan()
    run.predict(here)
    expected, tiles = classes(here), counts(run)
    run.database.execute("delete from constellation.tiles")
    shutil.rmtree(here.files.work)

    monkeypatch.setattr(fetching, "RANGE_BYTES", 150_000)
    server.latency_s = 0.1
    staging = tmp_path / "staging"
    with Ranges(Allowed.of([server.origin], ["127.0.0.1"])) as ranges:
        scene = describe_remote(ranges, server.url("/a.tif"), staging, Description())
        assert scene.grid == here.scene.grid
        found = open_mirror(ranges, scene, staging)
        far = replace(here, scene=replace(here.scene, uri=scene.uri, digest=scene.digest))
        plan, pixels = localised(far, staging)
        needs = Needs(found, scene.grid, plan.fit.grid, 0)
        fetcher = Fetcher(ranges, found, connections=1, stop=threading.Event())
        fetching_all = threading.Thread(
            target=lambda: fetcher.fetch(needs.of_all(sorted(plan.todo)))
        )
        assert not any(pixels.has(window) for window in plan.todo)
        fetching_all.start()
        predict(run, plan, pixels)
        fetching_all.join()
    assert counts(run) == tiles
    assert classes(plan) == expected
    assert run.faults() == []


def test_a_run_without_pixels_gives_its_device_back_with_what_it_has_done(
    run: Run, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.work.Work.__init__.__defaults__", ((), None, 1.0))
    here, staging = run.plan(), tmp_path / "staging"
    with Ranges(Allowed.of([server.origin], ["127.0.0.1"])) as ranges:
        scene = describe_remote(ranges, server.url("/a.tif"), staging, Description())
        found = open_mirror(ranges, scene, staging)
        far = replace(here, scene=replace(here.scene, uri=scene.uri, digest=scene.digest))
        plan, pixels = localised(far, staging)
        first = sorted(plan.todo)[:2]
        needs = Needs(found, scene.grid, plan.fit.grid, 0)
        Fetcher(ranges, found, connections=2, stop=threading.Event()).fetch(needs.of_all(first))
        began = time.monotonic()
        with pytest.raises(PixelsLate, match="have not come"):
            predict(run, plan, pixels)
    assert time.monotonic() - began >= 1.0
    done = [place for place, (state, _, _) in run.tiles().items() if state == "COMPLETED"]
    assert set(done) >= {(window.row_off_px, window.col_off_px) for window in first}
    assert len(done) < len(plan.todo)
    assert run.faults() == []


def test_a_run_on_a_host_without_the_scene_gives_its_device_back_at_once(
    run: Run, tmp_path: Path
) -> None:
    far = replace(run.plan(), scene=replace(run.plan().scene, uri="https://a.example/b.tif"))
    with pytest.raises(PixelsLate, match="no pixel of"):
        localised(far, tmp_path)
