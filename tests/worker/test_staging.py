"""Pixels first, then the lease: whatever a remote host does, nobody holds a device meanwhile.

The stager, the claim, the database and the sockets are real; no engine runs.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from constellation_pipelines.domain.outlook import Wait
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.remote import fetching, mirror
from constellation_pipelines.remote.hosts import Allowed
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.remote.scenes import Description, describe_remote
from constellation_pipelines.store import models, queue, run_ends, scenes, waiting
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.staging import Stager
from constellation_pipelines.worker.staging_session import Limits, Parts
from tests.remote.range_server import Asked, Handler, RangeServer, reply, serving
from tests.remote.rasters import write
from tests.store.fleet import claim, gpu, host, pass_time, run_of
from tests.store.fleet import job as make_job
from tests.worker.house import eventually

PACKAGE = Path(__file__).parent.parent.parent / "models" / "eurosat-landcover" / "1"
RANGE_BYTES = 60_000
SIDE_PX = 700  # 1.4 MB in 6 x 6 blocks, uncompressed
QUICK = Limits(
    connections=2, attempts=4, first_bytes=200_000, first_pause_s=0.05, longest_pause_s=0.2
)


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "RANGE_BYTES", RANGE_BYTES)


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("raster") / "a.tif"
    return write(path, "uncompressed", side_px=SIDE_PX).read_bytes()


@pytest.fixture
def server(raster: bytes) -> Iterator[RangeServer]:
    with serving(**{"a.tif": raster}) as started:
        yield started


class Farm:
    """A host with a device, a remote scene, and runs of it."""

    def __init__(self, database: Database, server: RangeServer, folder: Path) -> None:
        self.database = database
        self.server = server
        self.folder = folder
        self.allowed = Allowed.of([server.origin], ["127.0.0.1"])
        self.worker_id = host(database, gpu("A", slots=4))
        with database.transaction() as connection:
            self.model_id = models.save(connection, load_package(PACKAGE)).id
        self.scene = self.register("/a.tif")

    def register(self, path: str, **told: Any) -> Scene:
        bands = ("red", "green", "blue")
        with Ranges(self.allowed) as ranges:
            described = describe_remote(
                ranges, self.server.url(path), self.folder, Description(bands, **told)
            )
        with self.database.transaction() as connection:
            return scenes.add(connection, described)

    def run(self, scene: Scene | None = None) -> UUID:
        """A queued run of a scene."""
        job_id = make_job(self.database)
        self.database.execute(
            "update constellation.jobs set params = params || %s::jsonb where id = %s",
            ('{"model": "eurosat-landcover@1"}', job_id),
        )
        run_id = run_of(self.database, job_id, model_id=self.model_id)
        self.database.execute(
            "update constellation.runs set scene_id = %s where id = %s",
            ((scene or self.scene).id, run_id),
        )
        self.database.execute("delete from constellation.run_queue where run_id = %s", (run_id,))
        with self.database.transaction() as connection:
            queue.enqueue(
                connection,
                run_id=run_id,
                instance_ref="{}",
                resume=False,
                priority=0,
                gpu_count=1,
                mem_mb=1,
            )
        return run_id

    @contextmanager
    def stager(
        self, limits: Limits = QUICK, folder: Path | None = None, worker_id: UUID | None = None
    ) -> Iterator[None]:
        with Ranges(self.allowed, connections=8) as ranges:
            where = folder or self.folder
            parts = Parts(self.database, worker_id or self.worker_id, ranges, where, limits)
            with Stager(parts):
                yield

    def staging(self, run_id: UUID) -> dict[str, Any]:
        row = self.database.fetch_one(
            "select * from constellation.stagings where run_id = %s", (run_id,)
        )
        assert row is not None
        return dict(row)

    def state(self, run_id: UUID) -> str:
        return str(self.staging(run_id)["state"])

    def queued(self, run_id: UUID) -> str:
        row = self.database.fetch_one(
            "select state from constellation.run_queue where run_id = %s", (run_id,)
        )
        assert row is not None
        return str(row["state"])

    def error(self, run_id: UUID) -> str:
        row = self.database.fetch_one(
            "select error from constellation.runs where id = %s", (run_id,)
        )
        assert row is not None
        return str(row["error"])

    def reason(self, run_id: UUID) -> str:
        with self.database.transaction() as connection:
            found = waiting.of_runs(connection, [run_id])[run_id]
        assert found.code is Wait.STAGING
        assert found.estimated_start_at is None
        return found.reason

    def leases(self) -> int:
        row = self.database.fetch_one("select count(*) as n from constellation.leases")
        return int(row["n"]) if row else 0

    def settle(self, claimed: queue.Claim, code: int) -> int | None:
        with self.database.transaction() as connection:
            return run_ends.settle(connection, claimed.lease, code)


@pytest.fixture
def farm(database: Database, server: RangeServer, tmp_path: Path) -> Farm:
    return Farm(database, server, tmp_path / "staging")


def fail_with(status: int, **headers: str) -> Callable[[Handler, Asked], bool]:
    def fault(handler: Handler, asked: Asked) -> bool:
        reply(handler, status, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def test_a_run_of_a_remote_scene_is_not_claimed_before_its_pixels_are_there(farm: Farm) -> None:
    run_id = farm.run()
    assert claim(farm.database, farm.worker_id) is None
    assert farm.reason(run_id) == (
        f"its first pixels will be fetched from 127.0.0.1:{farm.server.port}"
    )
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "whole")
    found = claim(farm.database, farm.worker_id)
    assert found is not None
    assert found.lease.run_id == run_id
    staging = farm.staging(run_id)
    assert staging["done_bytes"] == staging["wanted_bytes"] > 0


def test_a_run_of_a_local_scene_waits_for_nothing(farm: Farm) -> None:
    farm.database.execute("update constellation.scenes set uri = '/a.tif'")
    run_id = farm.run()
    found = claim(farm.database, farm.worker_id)
    assert found is not None
    assert found.lease.run_id == run_id


def test_the_run_may_begin_with_the_first_pixels_and_the_rest_follows(farm: Farm) -> None:
    served: list[Asked] = []
    at_work = threading.Event()

    def stop_after_ten(handler: Handler, asked: Asked) -> bool:
        served.append(asked)
        if len(served) > 10:  # the rest comes only while the run is at work
            at_work.wait(60)
        return False

    farm.server.fault = stop_after_ten
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "ready")
        assert 0 < farm.staging(run_id)["done_bytes"] < farm.staging(run_id)["wanted_bytes"]
        assert claim(farm.database, farm.worker_id) is not None
        at_work.set()
        eventually(lambda: farm.state(run_id) == "whole")


def test_nobody_holds_a_lease_while_the_host_answers_503(farm: Farm) -> None:
    farm.server.fault = fail_with(503)
    run_id = farm.run()
    with farm.stager(Limits(connections=2, attempts=1000, first_pause_s=0.05, longest_pause_s=0.1)):
        for _ in range(3):
            asked = len(farm.server.asked)
            eventually(lambda asked=asked: len(farm.server.asked) > asked + 3)  # type: ignore[misc]
            assert claim(farm.database, farm.worker_id) is None
            assert farm.leases() == 0
        eventually(lambda: farm.staging(run_id)["attempts"] >= 2)
        farm.server.fault = None
        eventually(lambda: farm.state(run_id) == "whole")
    assert farm.staging(run_id)["attempts"] == 0
    assert farm.leases() == 0
    assert claim(farm.database, farm.worker_id) is not None


def test_why_it_waits_is_said_with_the_time_of_the_next_attempt(farm: Farm) -> None:
    farm.server.fault = fail_with(503, Retry_After="100")
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.staging(run_id)["note"] is not None)
    assert farm.reason(run_id).startswith(f"{farm.scene.uri}: the host answers 503; tried again at")
    row = farm.database.fetch_one(
        "select extract(epoch from not_before - now()) as s from constellation.stagings"
    )
    assert row is not None
    assert 80 < row["s"] <= 100


def test_the_run_fails_with_the_reason_when_the_host_stays_away(farm: Farm) -> None:
    farm.server.fault = fail_with(503)
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.queued(run_id) == "done")
    assert farm.error(run_id) == (
        f"{farm.scene.uri}: the host answers 503; tried 4 times, the last time just now"
    )
    assert farm.leases() == 0
    with farm.database.transaction() as connection:
        assert [one.run_id for one in queue.untold(connection)] == []  # a grace of two seconds
    farm.database.execute(
        "update constellation.run_queue set finished_at = now() - interval '1 minute'"
    )
    with farm.database.transaction() as connection:
        (untold,) = queue.untold(connection)
    assert (untold.run_id, untold.cancelled) == (run_id, False)
    assert untold.reason == farm.error(run_id)


@pytest.mark.parametrize(
    ("status", "words"), [(404, "is not there (404)"), (403, "may not be read (403)")]
)
def test_what_would_not_help_is_not_tried_again(farm: Farm, status: int, words: str) -> None:
    farm.server.fault = fail_with(status)
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.queued(run_id) == "done")
    assert words in farm.error(run_id)


def test_an_object_that_has_changed_fails_the_run(farm: Farm) -> None:
    farm.server.objects["/a.tif"] = farm.server.objects["/a.tif"][:-1] + b"\xff"
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.queued(run_id) == "done")
    assert "has changed since it was registered" in farm.error(run_id)


def test_an_object_that_has_changed_is_seen_on_a_host_without_its_header_too(
    farm: Farm, tmp_path: Path
) -> None:
    farm.server.objects["/a.tif"] = farm.server.objects["/a.tif"][:-1] + b"\xff"
    run_id = farm.run()
    with farm.stager(folder=tmp_path / "elsewhere"):
        eventually(lambda: farm.queued(run_id) == "done")
    assert "has changed since it was registered" in farm.error(run_id)


def test_a_host_that_is_no_longer_allowed_is_not_asked(farm: Farm) -> None:
    asked = len(farm.server.asked)
    farm.allowed = Allowed()
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.queued(run_id) == "done")
    assert "CONSTELLATION_REMOTE_HOSTS" in farm.error(run_id)
    assert len(farm.server.asked) == asked


def test_another_host_fetches_for_itself_and_only_its_worker_claims(
    farm: Farm, tmp_path: Path
) -> None:
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "whole")
    other = host(farm.database, gpu("B"), name="other")
    assert claim(farm.database, other) is None
    pass_time(farm.database, 60)  # the first worker falls silent
    farm.database.execute(
        "update constellation.workers set heartbeat_at = now() where id = %s", (other,)
    )
    farm.database.execute("update constellation.stagings set state = 'ready'")
    asked = len(farm.server.asked)
    with farm.stager(folder=tmp_path / "elsewhere", worker_id=other):
        eventually(lambda: farm.staging(run_id)["worker_id"] == other)
        eventually(lambda: farm.state(run_id) == "whole")
    assert len(farm.server.asked) > asked
    assert claim(farm.database, other) is not None


def test_a_worker_that_starts_anew_fetches_nothing_twice(farm: Farm) -> None:
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "whole")
    asked = len(farm.server.asked)
    farm.database.execute("update constellation.workers set stopped_at = now()")
    again = host(farm.database, gpu("A", slots=4))
    assert claim(farm.database, again) is None
    with farm.stager(worker_id=again):
        eventually(lambda: claim(farm.database, again) is not None)
    assert len(farm.server.asked) == asked


def test_a_run_that_starved_waits_for_its_pixels_and_keeps_its_attempts(farm: Farm) -> None:
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "whole")
    found = claim(farm.database, farm.worker_id)
    assert found is not None
    assert farm.settle(found, run_ends.STARVED) == 1
    assert (farm.queued(run_id), farm.state(run_id)) == ("queued", "wanted")
    assert claim(farm.database, farm.worker_id) is None
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "whole")
    assert farm.staging(run_id)["everything"]
    again = claim(farm.database, farm.worker_id)
    assert again is not None
    assert again.attempt == 1


def test_a_run_that_dagster_made_comes_back_for_its_pixels(farm: Farm) -> None:
    run_id = farm.run()
    farm.database.execute("delete from constellation.stagings")  # nobody knew its scene
    found = claim(farm.database, farm.worker_id)
    assert found is not None
    farm.settle(found, run_ends.STARVED)
    assert farm.state(run_id) == "wanted"
    assert claim(farm.database, farm.worker_id) is None


def test_the_scene_of_a_run_that_dagster_made_is_known_by_its_partition(farm: Farm) -> None:
    run_id = run_of(farm.database, make_job(farm.database))
    farm.database.execute("delete from constellation.run_queue")
    with farm.database.transaction() as connection:
        queue.enqueue(
            connection,
            run_id=run_id,
            instance_ref="{}",
            resume=False,
            priority=0,
            gpu_count=1,
            mem_mb=1,
            scene_key=farm.scene.key,
        )
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "whole")
    found = mirror.find(farm.folder, farm.scene.uri, farm.scene.digest)
    assert found is not None
    assert found.staged().all()


def test_a_run_that_has_no_tile_left_needs_no_pixel(farm: Farm) -> None:
    farm.database.execute("update constellation.jobs set params = params")
    run_id = farm.run()
    farm.database.execute(
        "update constellation.jobs set params = params || %s::jsonb",
        ('{"model": "eurosat-landcover@7"}',),
    )
    asked = len(farm.server.asked)
    with farm.stager():
        eventually(lambda: farm.state(run_id) == "whole")  # the run itself says what is wrong
    assert len(farm.server.asked) == asked


def test_a_cancelled_run_is_not_fetched_any_more(farm: Farm) -> None:
    farm.server.latency_s = 0.1
    run_id = farm.run()
    with farm.stager():
        eventually(lambda: farm.staging(run_id)["done_bytes"] > 0)
        with farm.database.transaction() as connection:
            queue.withdraw(connection, run_id)
        time.sleep(1.5)
        asked = len(farm.server.asked)
        time.sleep(1.0)
        assert len(farm.server.asked) == asked
    assert farm.staging(run_id)["state"] != "whole"


def test_two_runs_of_a_scene_fetch_it_once(farm: Farm) -> None:
    runs = [farm.run(), farm.run()]
    before = farm.server.sent_bytes
    with farm.stager():
        eventually(lambda: all(farm.state(run_id) == "whole" for run_id in runs))
    sent = farm.server.sent_bytes - before
    assert sent <= len(farm.server.objects["/a.tif"]) * 1.1


def test_a_scene_that_does_not_fit_the_disk_is_refused(farm: Farm) -> None:
    run_id = farm.run()
    with farm.stager(Limits(most_bytes=100_000)):
        eventually(lambda: farm.queued(run_id) == "done")
    assert "raise CONSTELLATION_STAGING_MB" in farm.error(run_id)
    assert farm.error(run_id).startswith(f"{farm.scene.uri}: ")


def test_what_nobody_needs_makes_room_and_what_somebody_needs_does_not(farm: Farm) -> None:
    farm.server.objects["/b.tif"] = farm.server.objects["/a.tif"]
    first = farm.run()
    limits = Limits(most_bytes=2_500_000, attempts=1000, first_pause_s=0.05, longest_pause_s=0.1)
    with farm.stager(limits):
        eventually(lambda: farm.state(first) == "whole")
        second = farm.run(farm.register("/b.tif", key="b"))
        eventually(lambda: farm.staging(second)["note"] is not None)
        assert "staging folder is full" in farm.staging(second)["note"]
        with farm.database.transaction() as connection:
            queue.withdraw(connection, first)
        eventually(lambda: farm.state(second) == "whole")
    assert mirror.find(farm.folder, farm.scene.uri, farm.scene.digest) is None


def test_a_folder_that_cannot_be_written_is_said(farm: Farm, tmp_path: Path) -> None:
    run_id = farm.run()
    shutil.rmtree(farm.folder)
    farm.folder.write_text("in the way")
    with (
        Ranges(farm.allowed) as ranges,
        pytest.raises(FileExistsError),
        Stager(Parts(farm.database, farm.worker_id, ranges, farm.folder, QUICK)),
    ):
        pass
    assert farm.state(run_id) == "wanted"


def test_order_of_need_is_that_of_the_tiles(farm: Farm) -> None:
    run_id = farm.run()
    first = len(farm.server.asked)
    with farm.stager(Limits(connections=1)):
        eventually(lambda: farm.state(run_id) == "whole")
    starts = [asked.span[0] for asked in farm.server.asked[first:]]
    assert starts == sorted(starts)
    assert np.diff(starts).min() > 0
