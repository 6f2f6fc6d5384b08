"""A run's prediction on devices that fail in every way: real engines, a real database.

The engines belong to simulated devices; a thread plays the worker, which brings them back.
"""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from assets.committer import Committer
from assets.crew import Hand
from assets.plan import Options, Plan, make_plan
from assets.predicting import Prediction
from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.domain.simulation import SimulationFile
from constellation_pipelines.gpu.simulated import SimulatedDoor
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.store import (
    faults,
    models,
    profiles,
    queue,
    scenes,
    tile_attempts,
    workers,
)
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.engines import Change, ChangeKind, Engines, Patience
from resources.lake import LakeResource
from tests.store import test_queue as queued

PACKAGE = Path(__file__).parent.parent.parent / "models" / "eurosat-landcover" / "1"
SCENE = "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif"
WAIT_S = 90.0


class Site:
    """Two simulated devices, the worker that looks after their engines, and their script."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "simulation.json"
        door = SimulatedDoor("host", 2, SimulationFile(self.file))
        self.devices = door.devices()
        # A batch beside busy neighbours may take seconds; only who waits for a hang is in a hurry.
        patience = Patience(hang_s=60.0, cool_down_s=0.2)
        self.engines = Engines(self.devices, folder, [PACKAGE], door, self.file, patience)
        self.changes: list[Change] = []
        self._stop = threading.Event()
        self._worker = threading.Thread(target=self._work)

    def __enter__(self) -> "Site":
        self._worker.start()
        deadline = time.monotonic() + WAIT_S
        while len(self.changes) < len(self.devices):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.join()

    def _work(self) -> None:
        while not self._stop.wait(0.05):
            self.changes += self.engines.tick()
        self.engines.stop()

    def tell(self, **script: Any) -> None:
        """Both devices do as they are told."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps({"devices": {"0": script, "1": script}}))
        draft.replace(self.file)

    def client(self, device: Device) -> EngineClient:
        return EngineClient(self.engines.sockets[device.uuid])


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    whole_site.changes.clear()
    yield whole_site
    whole_site.tell()


@dataclass
class Run:
    """A claimed run of a real scene, and what its prediction said."""

    database: Database
    site: Site
    lease: queue.Lease
    lake: Path
    scene: Path
    warnings: list[str] = field(default_factory=list)

    @property
    def id(self) -> UUID:
        return self.lease.run_id

    def plan(self) -> Plan:
        with self.database.transaction() as connection:
            return make_plan(
                connection,
                self.id,
                scene_key=self.scene.stem,
                model_name="eurosat-landcover",
                options=Options(accept_gsd_mismatch=True),
                lake=LakeResource(root=str(self.lake)),
            )

    def predict(self, plan: Plan, devices: int = 1) -> list[Hand]:
        offered = self.site.devices[:devices]
        card = plan.model.card
        with self.database.transaction() as connection:
            known = tile_attempts.of_run(connection, self.id)
            found = profiles.of_devices(
                connection, [d.uuid for d in offered], plan.model.digest, card.chip_px
            )
        hands = [
            Hand(one, self.site.client(device), one.profile.safe_batch)
            for one, device in zip(found, offered, strict=True)
        ]
        committer = Committer(self.database, self.lease, plan)
        prediction = Prediction(committer, hands, lambda _: None, self.warnings.append)
        prediction.run(plan.files.work, known)
        return hands

    def tiles(self) -> dict[tuple[int, int], tuple[str, int, str | None]]:
        """State, attempts and error by place."""
        rows = self.database.fetch_all(
            "select row_off_px, col_off_px, state, attempts, error "
            "from constellation.tiles where run_id = %s",
            (self.id,),
        )
        return {
            (row["row_off_px"], row["col_off_px"]): (row["state"], row["attempts"], row["error"])
            for row in rows
        }

    def faults(self) -> list[Fault]:
        with self.database.transaction() as connection:
            return faults.of_run(connection, self.id)

    def decisions(self) -> list[tuple[FaultKind, Decision]]:
        return [(fault.kind, fault.decision) for fault in self.faults()]


def start(database: Database, site: Site, lake: Path, scene: Path) -> Run:
    """Register everything and claim the run."""
    with database.transaction() as connection:
        model = models.save(connection, load_package(PACKAGE))
        described = scenes.add(connection, describe_scene(scene))
        worker_id = workers.register(connection, host="host", pid=1, devices=site.devices)
        for device in site.devices:
            workers.set_ready(connection, worker_id, device.uuid, True)
    run_id = queued.run(database)
    database.execute(
        "update constellation.runs set scene_id = %s, model_id = %s where id = %s",
        (described.id, model.id, run_id),
    )
    return Run(database, site, queued.claimed(database, worker_id).lease, lake, scene)


@pytest.fixture
def run(database: Database, site: Site, tmp_path: Path, sample_data: Path) -> Run:
    """A run of a real scene of 15 tiles."""
    return start(database, site, tmp_path / "lake", sample_data / "scenes" / SCENE)


def place(plan: Plan, index: int) -> tuple[int, int]:
    return tile_attempts.place_of(plan.todo[index])


def test_two_devices_share_a_run_and_its_result_is_that_of_one(
    database: Database, site: Site, tmp_path: Path, sample_data: Path, run: Run
) -> None:
    plan = run.plan()
    (alone,) = run.predict(plan)
    assert alone.tiles == len(plan.todo) == len(run.tiles())
    by_one = (plan.files.work / "class.blocks").read_bytes()
    database.execute("delete from constellation.tiles")
    shutil.rmtree(plan.files.work)

    site.tell(slow_ms=20)
    hands = run.predict(plan, devices=2)
    assert sum(hand.tiles for hand in hands) == len(plan.todo)
    assert all(hand.tiles > 0 for hand in hands)
    by_two = (plan.files.work / "class.blocks").read_bytes()
    same = sum(a == b for a, b in zip(by_one, by_two, strict=True)) / len(by_one)
    assert same > 0.995  # other batches may round otherwise
    assert len(run.tiles()) == len(plan.todo)
    assert run.faults() == []


def test_a_read_that_fails_once_is_tried_again_and_counted(site: Site, run: Run) -> None:
    plan = run.plan()
    bad = place(plan, 3)
    site.tell(unreadable_tiles=[[*bad, 1]])
    run.predict(plan)
    found = run.tiles()
    assert found[bad] == ("COMPLETED", 2, None)
    assert {state for state, _, _ in found.values()} == {"COMPLETED"}
    assert len(found) == len(plan.todo)
    assert run.decisions() == [(FaultKind.TRANSIENT, Decision.RETRY)]
    assert run.faults()[0].details == {"tiles": [list(bad)]}


def test_a_damaged_block_costs_its_tile_after_three_attempts_and_no_other(
    database: Database, site: Site, tmp_path: Path, sample_data: Path
) -> None:
    run = start(database, site, tmp_path / "lake", sample_data / "odd" / "corrupt.tif")
    plan = run.plan()
    run.predict(plan)
    failed = [tile for tile in run.tiles().values() if tile[0] == "FAILED"]
    ((_, attempts, error),) = failed
    assert attempts == 3
    assert str(error).startswith("quarantined after 3 attempts: ")
    assert "damaged" in str(error)
    assert len(run.tiles()) == len(plan.todo)
    assert run.decisions() == [
        (FaultKind.TRANSIENT, Decision.RETRY),
        (FaultKind.TRANSIENT, Decision.RETRY),
        (FaultKind.POISON_TILE, Decision.QUARANTINE_TILE),
    ]


def test_attempts_of_a_process_that_died_count(site: Site, run: Run) -> None:
    plan = run.plan()
    twice, thrice = plan.todo[2], plan.todo[5]
    with run.database.transaction() as connection:
        for _ in range(2):
            tile_attempts.count(connection, run.id, [twice, thrice], "no reply from the disk")
        tile_attempts.count(connection, run.id, [thrice], "no reply from the disk")
    site.tell(unreadable_tiles=[[*tile_attempts.place_of(twice), 1]])
    run.predict(plan)
    found = run.tiles()
    assert found[tile_attempts.place_of(twice)][:2] == ("FAILED", 3)
    assert found[tile_attempts.place_of(thrice)] == (
        "FAILED",
        3,
        "quarantined after 3 attempts: no reply from the disk",
    )
    assert [state for state, _, _ in found.values()].count("COMPLETED") == len(plan.todo) - 2


def test_a_tile_that_kills_its_engine_is_found_and_given_up_and_the_scene_goes_on(
    site: Site, run: Run
) -> None:
    plan = run.plan()
    poison = place(plan, 6)
    site.tell(poison_tiles=[list(poison)])
    run.predict(plan)
    found = run.tiles()
    assert found[poison][:2] == ("FAILED", 3)
    assert "its engine died while the tile was in it" in str(found[poison][2])
    others = [state for at, (state, _, _) in found.items() if at != poison]
    assert others == ["COMPLETED"] * (len(plan.todo) - 1)
    assert run.decisions().count((FaultKind.ENGINE, Decision.RESUME)) == 3
    assert run.decisions()[-1] == (FaultKind.POISON_TILE, Decision.QUARANTINE_TILE)
    assert len(run.warnings) == 3


def test_an_engine_that_hangs_is_killed_and_the_run_goes_on(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.engines, "_patience", Patience(hang_s=3.0, cool_down_s=0.2))
    plan = run.plan()
    site.tell(hang="batch")
    thread = threading.Thread(target=lambda: wait_for(site, ChangeKind.HUNG))
    thread.start()
    run.predict(plan)
    thread.join()
    assert {state for state, _, _ in run.tiles().values()} == {"COMPLETED"}
    assert (FaultKind.ENGINE, Decision.RESUME) in run.decisions()


def wait_for(site: Site, kind: ChangeKind) -> None:
    """Until the worker has seen it; then the device is well again."""
    deadline = time.monotonic() + WAIT_S
    while kind not in [change.kind for change in site.changes]:
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    site.tell()


def test_a_batch_without_room_is_halved_recorded_and_remembered_for_the_next_run(
    site: Site, run: Run
) -> None:
    plan = run.plan()
    site.tell(memory_mb=316)  # 200 of context, 16 of weights, 3 for each chip: 32 fit
    (hand,) = run.predict(plan)
    assert {state for state, _, _ in run.tiles().values()} == {"COMPLETED"}
    assert run.decisions() == [(FaultKind.OUT_OF_MEMORY, Decision.HALVE_BATCH)]
    assert run.faults()[0].details == {"batch": 32}
    place = profiles.Place(plan.model.digest, hand.device.name, plan.model.card.chip_px)
    with run.database.transaction() as connection:
        known = profiles.find(connection, place)
    assert known.safe_batch == 32
    assert known.tiles == len(plan.todo)
    assert known.device_s > 0
    assert 250 < (known.mem_mb or 0) <= 450
    run.database.execute("delete from constellation.tiles")
    (again,) = run.predict(plan)
    assert again.batch == 32
    assert len(run.decisions()) == 1


def test_a_device_without_room_for_one_chip_fails_the_run_with_the_reason(
    site: Site, run: Run
) -> None:
    site.tell(memory_mb=150)
    with pytest.raises(EngineFailed, match="not even for one chip"):
        run.predict(run.plan())
    assert run.decisions()[-1] == (FaultKind.OUT_OF_MEMORY, Decision.FAIL)


def test_events_tell_of_each_fault(site: Site, run: Run) -> None:
    plan = run.plan()
    site.tell(unreadable_tiles=[[*place(plan, 0), 1]])
    run.predict(plan)
    (event,) = run.database.fetch_all(
        "select payload from constellation.events where type = 'run.fault'"
    )
    assert event["payload"]["kind"] == "transient"
    assert event["payload"]["decision"] == "retry"
    assert "tried again in" in event["payload"]["message"]
