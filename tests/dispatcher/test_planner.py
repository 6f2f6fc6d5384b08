"""The dispatcher's turns: what is pending reaches Dagster once, whatever dies in between."""

import subprocess
from pathlib import Path
from uuid import UUID

import dagster as dg
import pytest
from psycopg.types.json import Jsonb

from constellation_pipelines.dispatcher import pending
from constellation_pipelines.dispatcher.dagster_door import DagsterDoor
from constellation_pipelines.dispatcher.planner import Planner
from constellation_pipelines.domain.errors import ConstellationError
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store import queue, run_ends
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.identity import identity_of
from tests.launcher.conftest import instance as instance
from tests.launcher.test_launcher import make
from tests.store.test_queue import claim, claimed, silence, worker
from tests.store.test_tiles import new_model, new_scene

MODEL = "land-cover"
scenes = dg.DynamicPartitionsDefinition(name="scenes")


class Options(dg.Config):
    accept_gsd_mismatch: bool = False
    reuse: bool = True
    max_cloud_fraction: float | None = None


@dg.asset(key=["predictions", "land_cover"], partitions_def=scenes)
def predictions(config: Options) -> None: ...


predict = dg.define_asset_job("predict_land_cover", dg.AssetSelection.assets(predictions))
defs = dg.Definitions(assets=[predictions], jobs=[predict])


@pytest.fixture
def door(instance: dg.DagsterInstance) -> DagsterDoor:
    return DagsterDoor(
        instance,
        defs.get_repository_def(),
        definitions=__name__,
        workspace=Path(instance.root_directory) / "workspace.yaml",
    )


@pytest.fixture
def planner(database: Database, door: DagsterDoor) -> Planner:
    return Planner(database, door)


def submit(database: Database, model: str = MODEL, **params: object) -> UUID:
    """A job with one run of a new scene; the run's id."""
    job_id, run_id, scene_id, model_id = (
        new_id(),
        new_id(),
        new_scene(database),
        new_model(database),
    )
    database.execute(
        "update constellation.models set name = %s, version = id::text where id = %s",
        (model, model_id),
    )
    database.execute(
        "insert into constellation.jobs (id, name, params, state, origin, submitted_by, priority) "
        "values (%s, 'job', '{\"reuse\": false}', 'PENDING', 'api', 'ann', 3)",
        (job_id,),
    )
    database.execute(
        "insert into constellation.runs (id, job_id, scene_id, model_id, state) "
        "values (%s, %s, %s, %s, 'PENDING')",
        (run_id, job_id, scene_id, model_id),
    )
    return run_id


def states(database: Database, run_id: UUID) -> tuple[str, str, str | None]:
    row = database.fetch_one(
        "select r.state, j.state as job, r.error from constellation.runs r "
        "join constellation.jobs j on j.id = r.job_id where r.id = %s",
        (run_id,),
    )
    assert row is not None
    return row["state"], row["job"], row["error"]


def test_a_pending_run_becomes_a_dagster_run_of_the_same_id(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    run_id = submit(database)
    planner.turn()
    run = instance.get_run_by_id(str(run_id))
    assert run is not None
    assert run.status == dg.DagsterRunStatus.QUEUED
    assert run.tags["constellation/account"] == "ann"
    assert run.tags["dagster/priority"] == "3"
    assert run.run_config == {"ops": {"predictions__land_cover": {"config": {"reuse": False}}}}
    assert states(database, run_id) == ("QUEUED", "PENDING", None)


def test_a_share_of_clouds_reaches_the_run(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    run_id = submit(database)
    clouds = {"max_cloud_fraction": 0}
    database.execute("update constellation.jobs set params = params || %s", (Jsonb(clouds),))
    planner.turn()
    run = instance.get_run_by_id(str(run_id))
    assert run is not None
    config = {"reuse": False, "max_cloud_fraction": 0}
    assert run.run_config == {"ops": {"predictions__land_cover": {"config": config}}}


def test_what_a_job_asks_for_reaches_the_queue(planner: Planner, database: Database) -> None:
    run_id = submit(database)
    asked = Jsonb({"gpu_count": 2, "gpu_mem_mb": 800, "mode": "serial"})
    database.execute("update constellation.jobs set params = params || %s", (asked,))
    planner.turn()
    row = database.fetch_one(
        "select q.gpu_count, q.mem_mb, q.account, q.priority, q.model_digest, "
        "q.serial_job_id = r.job_id as serial, q.job_id = r.job_id as of_job "
        "from constellation.run_queue q join constellation.runs r on r.id = q.run_id "
        "where q.run_id = %s",
        (run_id,),
    )
    assert row == {
        "gpu_count": 2,
        "mem_mb": 800,
        "account": "ann",
        "priority": 3,
        "model_digest": "d",
        "serial": True,
        "of_job": True,
    }


def test_the_scene_is_a_partition_before_its_run_is_made(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    run_id = submit(database)
    planner.turn()
    run = instance.get_run_by_id(str(run_id))
    assert run is not None
    assert instance.get_dynamic_partitions("scenes") == [run.tags["dagster/partition"]]
    event = instance.get_latest_materialization_event(dg.AssetKey("registered_scene"))
    assert event is not None


def test_a_second_turn_changes_nothing(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    submit(database)
    planner.turn()
    planner.turn()
    assert instance.get_runs_count() == 1
    assert len(database.fetch_all("select * from constellation.run_queue")) == 1


@pytest.mark.parametrize("status", ["NOT_STARTED", "QUEUED"])
def test_a_dispatcher_that_died_between_making_and_queueing_goes_on(
    planner: Planner, database: Database, instance: dg.DagsterInstance, status: str
) -> None:
    run_id = submit(database)
    planner.turn()
    # As if it had died, or lost the database, before the queue row was written.
    database.execute("delete from constellation.run_queue")
    database.execute("update dagster.runs set status = %s", (status,))
    database.execute("update constellation.runs set created_at = now() - interval '1 minute'")
    planner.turn()
    assert instance.get_runs_count() == 1
    assert claimed(database, worker(database)).lease.run_id == run_id


def test_a_run_that_dagster_has_made_but_not_submitted_is_let_be(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    make(instance)
    database.execute("update constellation.runs set created_at = now() - interval '1 minute'")
    planner.turn()
    assert database.fetch_all("select * from constellation.run_queue") == []


def test_a_model_without_a_dagster_job_fails_the_run_with_the_reason(
    planner: Planner, database: Database
) -> None:
    run_id = submit(database, model="unheard-of")
    planner.turn()
    state, job, error = states(database, run_id)
    assert (state, job) == ("FAILED", "FAILED")
    assert error is not None
    assert "unheard-of has no Dagster job" in error


def test_a_cancelled_job_takes_its_queued_run_along(planner: Planner, database: Database) -> None:
    run_id = submit(database)
    planner.turn()
    database.execute("update constellation.jobs set cancel_requested_at = now()")
    planner.turn()
    assert states(database, run_id)[:2] == ("CANCELLED", "CANCELLED")


def test_a_run_in_a_state_of_a_newer_dagster_holds_up_no_other(
    planner: Planner, database: Database
) -> None:
    unknown, known = submit(database), submit(database)
    planner.turn()
    database.execute(
        "update dagster.runs set status = 'HIBERNATING' where run_id = %s", (str(unknown),)
    )
    database.execute("update constellation.jobs set cancel_requested_at = now()")
    planner.turn()
    assert states(database, unknown)[0] == "QUEUED"
    assert states(database, known)[0] == "CANCELLED"


def test_a_job_cancelled_before_its_run_was_made_never_reaches_dagster(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    run_id = submit(database)
    database.execute("update constellation.jobs set cancel_requested_at = now()")
    planner.turn()
    assert states(database, run_id)[:2] == ("CANCELLED", "CANCELLED")
    assert instance.get_runs_count() == 0


def test_the_run_of_a_dead_worker_starts_again(planner: Planner, database: Database) -> None:
    submit(database)
    planner.turn()
    worker_id = worker(database)
    lease = claimed(database, worker_id).lease
    silence(database, worker_id)
    planner.turn()
    again = claimed(database, worker(database))
    assert (again.lease.run_id, again.resume, again.attempt) == (lease.run_id, True, 1)


def test_a_worker_of_this_machine_is_proven_dead_at_once(
    planner: Planner, database: Database
) -> None:
    submit(database)
    planner.hear_first()  # its silence is no proof now, its death is
    planner.turn()
    with subprocess.Popen(["sleep", "600"]) as process:
        identity = identity_of(process.pid)
        dead = worker(database)
        database.execute(
            "update constellation.workers set pid = %s, boot_id = %s, pid_started_ticks = %s",
            (process.pid, identity.boot_id, identity.started_ticks) if identity else None,
        )
        lease = claimed(database, dead).lease
        planner.turn()
        assert claim(database, worker(database, host="elsewhere")) is None
        process.kill()
    planner.turn()
    again = claimed(database, worker(database, host="elsewhere"))
    assert again.lease.run_id == lease.run_id
    row = database.fetch_one("select stopped_at from constellation.workers where id = %s", (dead,))
    assert row is not None
    assert row["stopped_at"] is not None


def test_silence_is_no_proof_right_after_an_outage(planner: Planner, database: Database) -> None:
    submit(database)
    planner.turn()
    worker_id = worker(database)
    claimed(database, worker_id)
    silence(database, worker_id)
    planner.hear_first()
    planner.turn()
    assert claim(database, worker(database, host="elsewhere")) is None


def test_a_cancelled_run_that_was_killed_is_cancelled_in_dagster(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    run_id = submit(database)
    planner.turn()
    lease = claimed(database, worker(database)).lease
    assert instance.run_coordinator.cancel_run(str(run_id))
    # The process started the run while its end was asked for, and then hung.
    database.execute("update dagster.runs set status = 'STARTED'")
    with database.transaction() as connection:
        run_ends.settle(connection, lease, -9)
    planner.turn()
    run = instance.get_run_by_id(str(run_id))
    assert run is not None
    assert run.status == dg.DagsterRunStatus.CANCELED
    assert states(database, run_id)[:2] == ("CANCELLED", "CANCELLED")


def test_a_run_that_died_too_often_fails_in_dagster_too(
    planner: Planner, database: Database, instance: dg.DagsterInstance
) -> None:
    run_id = submit(database)
    planner.turn()
    lease = claimed(database, worker(database)).lease
    database.execute("update constellation.run_queue set attempt = %s", (queue.MAX_ATTEMPTS,))
    with database.transaction() as connection:
        assert queue.requeue(connection, lease, resume=True) is None
        queue.finish(connection, lease, -9)
    database.execute("update constellation.run_queue set finished_at = now() - interval '1 minute'")
    planner.turn()
    run = instance.get_run_by_id(str(run_id))
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert states(database, run_id)[:2] == ("FAILED", "FAILED")


def test_without_a_workspace_file_the_reason_is_told(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with pytest.raises(ConstellationError, match="start the stack"):
        DagsterDoor(
            instance,
            defs.get_repository_def(),
            definitions=__name__,
            workspace=tmp_path / "nowhere.yaml",
        )


def test_scenes_are_marked_once_dagster_knows_them(planner: Planner, database: Database) -> None:
    new_scene(database)
    planner.turn()
    with database.transaction() as connection:
        assert pending.new_scenes(connection) == []


@dg.asset(key=["predictions", "new_model"], partitions_def=scenes)
def newer(config: Options) -> None: ...


def newer_definitions() -> dg.RepositoryDefinition:
    job = dg.define_asset_job("predict_new_model", dg.AssetSelection.assets(newer))
    return dg.Definitions(assets=[predictions, newer], jobs=[predict, job]).get_repository_def()


def broken_definitions() -> dg.RepositoryDefinition:
    raise ValueError("a definition that does not load")


def test_a_model_that_came_after_the_start_is_launched(
    database: Database, instance: dg.DagsterInstance
) -> None:
    door = DagsterDoor(
        instance,
        defs.get_repository_def(),
        definitions=__name__,
        workspace=Path(instance.root_directory) / "workspace.yaml",
        load=newer_definitions,
    )
    run_id = submit(database, model="new-model")
    Planner(database, door).turn()
    run = instance.get_run_by_id(str(run_id))
    assert run is not None
    assert run.job_name == "predict_new_model"


def test_definitions_that_do_not_load_leave_the_old_ones_at_work(
    database: Database, instance: dg.DagsterInstance
) -> None:
    door = DagsterDoor(
        instance,
        defs.get_repository_def(),
        definitions=__name__,
        workspace=Path(instance.root_directory) / "workspace.yaml",
        load=broken_definitions,
    )
    lost, known = submit(database, model="new-model"), submit(database)
    Planner(database, door).turn()
    assert states(database, lost)[1] == "FAILED"
    assert instance.get_run_by_id(str(known)) is not None
