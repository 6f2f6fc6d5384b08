"""Our storages leave in Dagster's tables what Dagster's own would, and answer as they do."""

from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster_postgres import PostgresEventLogStorage

from constellation_pipelines.launcher import storage
from constellation_pipelines.launcher.storage import (
    ConstellationEventLogStorage,
    ConstellationRunStorage,
)
from constellation_pipelines.store.database import Database

scenes = dg.DynamicPartitionsDefinition(name="scenes")
COUNTED = dg.AssetCheckSpec("counted", asset="tiles")


@dg.asset(partitions_def=scenes, check_specs=[COUNTED])
def tiles() -> Any:
    yield dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=True, check_name="counted")]
    )


@dg.asset(partitions_def=scenes, deps=[tiles])
def coverage() -> None: ...


DEFS = dg.Definitions(
    assets=[tiles, coverage], jobs=[dg.define_asset_job("both", [tiles, coverage])]
)

LOG = """
select dagster_event_type, asset_key, partition, step_key from dagster.event_logs
 where run_id = %s order by dagster_event_type, asset_key, step_key
"""
CHECKS = """
select asset_key, check_name, partition, execution_status, evaluation_event_storage_id is not null
  from dagster.asset_check_executions where run_id = %s
"""
ASSETS = "select asset_key, last_run_id = %s from dagster.asset_keys order by asset_key"


def make_run(instance: dg.DagsterInstance) -> str:
    instance.add_dynamic_partitions("scenes", ["coast"])
    job = DEFS.resolve_job_def("both")
    return instance.create_run_for_job(job, tags={"dagster/partition": "coast"}).run_id


def written(database: Database, run_id: str) -> list[Any]:
    """All that a run has left in the tables of events, checks and assets."""
    statements = (LOG, CHECKS, ASSETS)
    return [[tuple(row.values()) for row in database.fetch_all(s, (run_id,))] for s in statements]


@pytest.fixture(autouse=True)
def as_the_stack_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")


@pytest.fixture
def of_dagster(instance: dg.DagsterInstance, database: Database) -> list[Any]:
    """What a run leaves that was made in Dagster's own way of writing, in the same instance."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("store_event", "store_event_batch"):
            patch.setattr(
                ConstellationEventLogStorage, name, getattr(PostgresEventLogStorage, name)
            )
        return written(database, make_run(instance))


def test_the_instance_uses_them(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_storage, ConstellationRunStorage)
    assert isinstance(instance.event_log_storage, ConstellationEventLogStorage)


def test_planned_events_leave_the_rows_that_dagster_would_have_left(
    of_dagster: list[Any], instance: dg.DagsterInstance, database: Database
) -> None:
    assert of_dagster[0], "Dagster plans something"
    assert of_dagster[1], "Dagster plans a check"
    assert written(database, make_run(instance)) == of_dagster


def test_a_run_that_was_planned_by_us_runs_and_is_checked(
    instance: dg.DagsterInstance, database: Database
) -> None:
    instance.add_dynamic_partitions("scenes", ["coast"])
    done = DEFS.resolve_job_def("both").execute_in_process(instance=instance, partition_key="coast")
    assert done.success
    (check,) = database.fetch_all(
        "select execution_status from dagster.asset_check_executions where run_id = %s",
        (done.run_id,),
    )
    assert check["execution_status"] == "SUCCEEDED"
    assert instance.get_latest_materialization_event(dg.AssetKey("coverage")) is not None


def test_the_planned_events_of_a_run_are_one_commit(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run_id = make_run(instance)
    commits = database.fetch_all(
        "select distinct xmin::text as made_by from dagster.event_logs where run_id = %s", (run_id,)
    )
    assert len(commits) == 1


def test_planned_events_may_come_later_and_are_the_same(
    of_dagster: list[Any], instance: dg.DagsterInstance, database: Database
) -> None:
    log = instance.event_log_storage
    assert isinstance(log, ConstellationEventLogStorage)
    with log.planned_events_later():
        run_id = make_run(instance)
        assert written(database, run_id)[:2] == [[], []]
    assert written(database, run_id) == of_dagster
    assert written(database, make_run(instance)) == of_dagster, "and at once again"


def test_planned_events_are_written_although_what_they_waited_for_went_wrong(
    of_dagster: list[Any], instance: dg.DagsterInstance, database: Database
) -> None:
    log = instance.event_log_storage
    assert isinstance(log, ConstellationEventLogStorage)
    runs: list[str] = []

    def break_off() -> None:
        with log.planned_events_later():
            runs.append(make_run(instance))
            raise OSError("the queue")

    with pytest.raises(OSError, match="the queue"):
        break_off()
    (run_id,) = runs
    assert written(database, run_id) == of_dagster


def test_a_check_that_was_never_planned_is_kept_all_the_same(
    instance: dg.DagsterInstance, database: Database
) -> None:
    instance.add_dynamic_partitions("scenes", ["coast"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConstellationEventLogStorage, "_store_planned", lambda *_: None)
        job = DEFS.resolve_job_def("both")
        done = job.execute_in_process(instance=instance, partition_key="coast")
    (check,) = database.fetch_all(
        "select execution_status from dagster.asset_check_executions where run_id = %s",
        (done.run_id,),
    )
    assert check["execution_status"] == "SUCCEEDED"


def test_a_snapshot_is_looked_for_until_it_is_there(instance: dg.DagsterInstance) -> None:
    runs = instance.run_storage
    assert not runs.has_job_snapshot("none")
    assert not runs.has_job_snapshot("none"), "a no is not remembered"
    run = instance.get_run_by_id(make_run(instance))
    assert run is not None
    assert run.job_snapshot_id is not None
    assert runs.has_job_snapshot(run.job_snapshot_id)


def test_a_connection_that_died_while_idle_is_replaced(
    instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "IDLE_S", 0.0)
    instance.optimize_for_webserver(60_000, 300, 5)  # as the web server does
    instance.add_dynamic_partitions("scenes", ["coast"])
    run_id = make_run(instance)
    name = psycopg.conninfo.conninfo_to_dict(database.url)["dbname"]
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = %s and pid <> pg_backend_pid()",
        (name,),
    )
    assert instance.get_run_by_id(run_id) is not None
    assert instance.has_dynamic_partition("scenes", "coast")
    assert instance.all_instigator_state() == []


def test_events_without_tables_of_their_own_are_one_row_each() -> None:
    assert not storage.PLAIN & storage.PLANNED
    assert dg.DagsterEventType.ASSET_MATERIALIZATION not in storage.PLAIN
    assert dg.DagsterEventType.STEP_FAILURE not in storage.PLAIN
