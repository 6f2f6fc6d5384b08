"""What we use of Dagster that is not public: a test each, to fail when a new version differs."""

import importlib
import inspect
import os
import re
import signal
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._cli.api import _execute_run_command_body, _resume_run_command_body
from dagster._config.config_schema import UserConfigSchema
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.events import EngineEventData
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.instance import T_DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher.base import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.run_coordinator.base import RunCoordinator, SubmitRunContext
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._serdes import (
    ConfigurableClass,
    ConfigurableClassData,
    deserialize_value,
    serialize_value,
)
from dagster._utils.interrupts import (
    capture_interrupts,
    check_captured_interrupt,
    setup_interrupt_handlers,
)

from constellation_pipelines.launcher import outages
from constellation_pipelines.launcher.instances import pool_connections
from constellation_pipelines.worker.zygote import PRELOAD

CHECKOUT = Path(__file__).parent.parent.parent
PRIVATE = re.compile(r"^(?:from|import) (dagster\._[\w.]+)", re.MULTILINE)


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_every_private_module_in_use_has_its_test_here() -> None:
    used = {
        name
        for room in ("constellation_pipelines", "assets", "resources", "api")
        for path in (CHECKOUT / room).rglob("*.py")
        for name in PRIVATE.findall(path.read_text())
    }
    assert used - set(PRIVATE.findall(Path(__file__).read_text())) == set()


@pytest.mark.parametrize("body", [_execute_run_command_body, _resume_run_command_body])
def test_runs_are_executed_the_way_the_run_process_calls_it(body: object) -> None:
    expected = ["run_id", "instance", "write_stream_fn", "set_exit_code_on_failure"]
    assert parameters(body) == expected


def test_what_the_zygote_loads_ahead_is_there() -> None:
    for name in PRELOAD:
        if name.startswith("dagster"):
            importlib.import_module(name)


def test_an_instance_travels_as_text(instance: dg.DagsterInstance) -> None:
    text = serialize_value(instance.get_ref())
    with dg.DagsterInstance.from_ref(deserialize_value(text, InstanceRef)) as again:
        assert again.root_directory == instance.root_directory


def test_an_interrupt_waits_until_the_run_can_take_it() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        setup_interrupt_handlers()
        with capture_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            assert check_captured_interrupt()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_launcher_is_asked_these_things() -> None:
    assert RunLauncher.__abstractmethods__ == {"launch_run", "terminate"}
    for name in (
        "supports_resume_run",
        "resume_run",
        "supports_check_run_worker_health",
        "check_run_worker_health",
        "get_run_worker_debug_info",
        "dispose",
    ):
        assert hasattr(RunLauncher, name), name
    assert parameters(RunLauncher.get_run_worker_debug_info) == [
        *("self", "run", "include_container_logs")
    ]
    assert {"RUNNING", "NOT_FOUND", "FAILED", "SUCCESS", "UNKNOWN"} <= {
        s.name for s in WorkerStatus
    }
    result = CheckRunHealthResult(WorkerStatus.RUNNING, "why", run_worker_id="w")
    assert (result.status, result.msg, result.run_worker_id) == (WorkerStatus.RUNNING, "why", "w")
    assert "dagster_run" in LaunchRunContext._fields
    assert "dagster_run" in ResumeRunContext._fields


def test_a_coordinator_is_asked_these_things() -> None:
    assert RunCoordinator.__abstractmethods__ == {"submit_run", "cancel_run"}
    assert "dagster_run" in SubmitRunContext._fields


def test_classes_are_made_from_the_configuration() -> None:
    assert ConfigurableClass.__abstractmethods__ >= {
        "inst_data",
        "config_type",
        "from_config_value",
    }
    assert parameters(ConfigurableClass.from_config_value) == ["inst_data", "config_value"]
    assert ConfigurableClassData("module", "class", "{}").module_name == "module"
    assert UserConfigSchema is not None
    assert "DagsterInstance" in str(T_DagsterInstance.__bound__)


def test_a_run_finds_its_code_by_module_and_job() -> None:
    repository = RepositoryPythonOrigin(sys.executable, ModuleCodePointer("module", "defs"))
    assert JobPythonOrigin("job", repository).job_name == "job"


def test_the_workspace_file_names_the_remote_repository(instance: dg.DagsterInstance) -> None:
    path = Path(instance.root_directory) / "workspace.yaml"
    (location,) = WorkspaceFileTarget([str(path)]).create_origins()
    origin = RemoteRepositoryOrigin(location, "repository").get_job_origin("job")
    assert origin.job_name == "job"


def test_an_asset_job_is_resolved_later() -> None:
    job = dg.define_asset_job("job", dg.AssetSelection.all())
    assert isinstance(job, UnresolvedAssetJobDefinition)


def test_what_a_step_prints_goes_into_its_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manager = LocalComputeLogManager(str(tmp_path))
    path = Path(
        manager.get_captured_local_path(["run", "key"], IO_TYPE_EXTENSION[ComputeIOType.STDOUT])
    )
    path.parent.mkdir(parents=True)
    with redirect_to_file(sys.stdout, str(path)):
        os.write(sys.stdout.fileno(), b"hello")
    assert path.read_text() == "hello"
    assert CapturedLogContext(["run", "key"]).log_key == ["run", "key"]
    done = manager.complete_artifact_path(["run", "key"])  # type: ignore[no-untyped-call]
    assert Path(done).parent == path.parent


def test_an_event_of_ours_is_read_back_with_its_facts(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(empty)
    facts = EngineEventData({"host": "rack-7"})
    written = instance.report_engine_event("Going on.", run, facts)
    assert written.engine_event_data.metadata["host"].value == "rack-7"


@dg.job
def empty() -> None: ...


def test_storages_have_an_engine_with_a_pool_that_can_be_tested(
    instance: dg.DagsterInstance,
) -> None:
    pool_connections(instance)
    for storage in outages.storages_of(instance):
        with storage._engine.connect() as connection:
            storage._engine.dialect.do_ping(connection.connection.dbapi_connection)
            assert connection.exec_driver_sql("show statement_timeout").scalar() == "1min"


def test_the_tables_of_planned_events_have_the_columns_that_we_write() -> None:
    assert "id" in SqlEventLogStorageTable.c
    assert AssetCheckExecutionRecordStatus.PLANNED.value == "PLANNED"
    written = {
        "asset_key",
        "check_name",
        "partition",
        "run_id",
        "execution_status",
        "evaluation_event",
        "evaluation_event_timestamp",
        "evaluation_event_storage_id",
    }
    assert written <= set(AssetCheckExecutionsTable.c.keys())


def test_the_calls_that_a_run_makes_are_made_again_after_an_outage(
    instance: dg.DagsterInstance,
) -> None:
    outages.outlast_outages(instance, 1, lambda: sys.exit(1))
    storages = (instance.event_log_storage, instance.run_storage)
    for storage, names in zip(storages, (EVENT_CALLS, RUN_CALLS), strict=True):
        for name in names:
            assert name in vars(storage), name


EVENT_CALLS = ("store_event", "store_event_batch", "get_records_for_run")
RUN_CALLS = ("handle_run_event", "get_runs", "get_run_records", "has_run", "add_run_tags")
