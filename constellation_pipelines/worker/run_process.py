"""The body of a forked run process: one Dagster run, no torch, no CUDA."""

import json
import os
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body, _resume_run_command_body
from dagster._core.events import EngineEventData
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value, serialize_value
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

from constellation_pipelines.launcher.compute_logs import ConstellationComputeLogManager
from constellation_pipelines.launcher.instances import also_log_to, pool_connections
from constellation_pipelines.launcher.outages import outlast_outages
from constellation_pipelines.observability.run_log import RunLogHandler
from constellation_pipelines.worker.orders import Channel, RunOrder

PATIENCE_S = 60.0  # for a database that is away

WAITING = (
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.QUEUED,
)
NO_RUN = "00000000-0000-0000-0000-000000000000"
SWITCH_S = 0.0005  # Dagster's own work and the run's share one interpreter; neither waits for long


class EarlyStart(Protocol):
    """Begins a run's work while Dagster still starts the run."""

    def prepare(self) -> None:
        """Open connections and load what a run needs; called before there is an order."""

    def begin(self, run: DagsterRun) -> None:
        """Begin the work of a run that this process has leased a device for."""


def wait_for_order(
    orders: Channel, early: EarlyStart | None, loaded: Collection[str] | None = None
) -> int:
    """Be ready, wait for an order, execute it; return the exit code. No order is no fault."""
    instance = prepare(early)
    messages = orders.receive()
    orders.connection.close()
    if not messages:
        return 0
    return execute(RunOrder(**messages[0]["run"]), early, instance, loaded)


def prepare(early: EarlyStart | None) -> DagsterInstance | None:
    """Do all that does not depend on the run. What fails here is done again when it is needed."""
    try:
        instance = connected(DagsterInstance.get())
        instance.get_runs(limit=1)
        instance.get_run_by_id(NO_RUN)
        instance.event_log_storage.get_logs_for_run(NO_RUN, limit=1)
        if early is not None:
            early.prepare()
    except Exception as error:
        print(f"a spare run process is not warm: {error}", file=sys.stderr, flush=True)
        return None
    return instance


def execute(
    order: RunOrder,
    early: EarlyStart | None = None,
    warm: DagsterInstance | None = None,
    loaded: Collection[str] | None = None,
) -> int:
    """Execute a run, or go on with one that was interrupted; return its exit code.

    `loaded` are the Dagster jobs this process knows. A run of another one is given back: its model
    was added after the zygote started, and a zygote that knows it is on its way.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["CONSTELLATION_FENCE"] = str(order.fence)
    os.environ["CONSTELLATION_ENGINES"] = json.dumps(order.sockets)
    sys.setswitchinterval(SWITCH_S)
    setup_interrupt_handlers()
    with capture_interrupts(), instance_of(order.instance_ref, warm) as instance:
        run = instance.get_run_by_id(order.run_id)
        if run is None or run.is_finished:
            return 0
        if run.status == DagsterRunStatus.CANCELING:  # cancelled while it waited
            instance.report_run_canceled(run)
            return 0
        if loaded is not None and run.job_name not in loaded:
            print(f"{run.job_name} is not loaded yet; the run is given back", flush=True)
            return os.EX_TEMPFAIL
        keep_lines(instance, order.run_id)
        if early is not None:
            begin(early, run)
        return execute_body(instance, run, order)


def keep_lines(instance: DagsterInstance, run_id: str) -> None:
    """Have what the run logs written to a file as well, where the worker reads it."""
    manager = instance.compute_log_manager
    if isinstance(manager, ConstellationComputeLogManager):
        also_log_to(instance, RunLogHandler(manager.folder_of(run_id)))


def begin(early: EarlyStart, run: DagsterRun) -> None:
    """Begin early where that can be done; where it cannot, the run's own step says why."""
    try:
        early.begin(run)
    except Exception:
        traceback.print_exc()


def execute_body(instance: DagsterInstance, run: DagsterRun, order: RunOrder) -> int:
    """Start the run, or resume it where a dead process left it."""
    tell_operator(instance, run, order)
    began = run.status == DagsterRunStatus.STARTED
    body = _resume_run_command_body if began else _execute_run_command_body
    return body(run.run_id, instance, lambda event: None, set_exit_code_on_failure=True)


@contextmanager
def instance_of(reference: str, warm: DagsterInstance | None) -> Iterator[DagsterInstance]:
    """The run's instance: the warm one where it is the same, else one opened now."""
    if warm is not None and serialize_value(warm.get_ref()) == reference:
        yield warm
        return
    with connected(DagsterInstance.from_ref(deserialize_value(reference, InstanceRef))) as instance:
        yield instance


def tell_operator(instance: DagsterInstance, run: DagsterRun, order: RunOrder) -> None:
    """Say in Dagster's UI where the run is, and as which attempt.

    A run that starts needs an event anyway, which says it; one that goes on gets an event of its
    own. Each costs about 10 ms.
    """
    host = os.environ.get("CONSTELLATION_HOST_NAME") or os.uname().nodename
    devices = ", ".join(order.sockets) or "no device"
    place = f"attempt {order.attempt} on host {host}, {devices}, process {os.getpid()}"
    if run.status in WAITING:
        starting = DagsterEvent(
            DagsterEventType.PIPELINE_STARTING.value,
            job_name=run.job_name,
            message=f"Starting {place}.",
        )
        instance.report_dagster_event(starting, run_id=run.run_id)
    else:
        message = f"Going on: {place}. {order.resumed_after or ''}".strip()
        facts = EngineEventData({"host": host, "devices": devices, "attempt": order.attempt})
        instance.report_engine_event(message, run, facts)


def connected(instance: DagsterInstance) -> DagsterInstance:
    """An instance with pooled connections that wait for a database. Only ever after the fork."""
    pool_connections(instance)
    outlast_outages(instance, PATIENCE_S, give_back)
    return instance


def give_back() -> NoReturn:
    """End without a word to Dagster: the run is not over, its worker will queue it again."""
    print("the database stays away; the run is given back", file=sys.stderr, flush=True)
    os._exit(os.EX_TEMPFAIL)
