"""The body of a forked run process: one Dagster run, no torch, no CUDA."""

import json
import os
import sys
from typing import NoReturn

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body, _resume_run_command_body
from dagster._core.events import EngineEventData
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

from constellation_pipelines.launcher.instances import pool_connections
from constellation_pipelines.launcher.outages import outlast_outages
from constellation_pipelines.worker.orders import RunOrder

PATIENCE_S = 60.0  # for a database that is away

WAITING = (
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.QUEUED,
)


def execute(order: RunOrder) -> int:
    """Execute a run, or go on with one that was interrupted; return its exit code."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["CONSTELLATION_FENCE"] = str(order.fence)
    os.environ["CONSTELLATION_ENGINES"] = json.dumps(order.sockets)
    setup_interrupt_handlers()
    with capture_interrupts(), open_instance(order.instance_ref) as instance:
        run = instance.get_run_by_id(order.run_id)
        if run is None or run.is_finished:
            return 0
        if run.status == DagsterRunStatus.CANCELING:  # cancelled while it waited
            instance.report_run_canceled(run)
            return 0
        return execute_body(instance, run, order)


def execute_body(instance: DagsterInstance, run: DagsterRun, order: RunOrder) -> int:
    """Start the run, or resume it where a dead process left it."""
    tell_operator(instance, run, order)
    began = run.status == DagsterRunStatus.STARTED
    body = _resume_run_command_body if began else _execute_run_command_body
    return body(run.run_id, instance, lambda event: None, set_exit_code_on_failure=True)


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


def open_instance(instance_ref: str) -> DagsterInstance:
    """The run's instance with pooled connections. Only ever opened after the fork."""
    instance = DagsterInstance.from_ref(deserialize_value(instance_ref, InstanceRef))
    pool_connections(instance)
    outlast_outages(instance, PATIENCE_S, give_back)
    return instance


def give_back() -> NoReturn:
    """End without a word to Dagster: the run is not over, its worker will queue it again."""
    print("the database stays away; the run is given back", file=sys.stderr, flush=True)
    os._exit(os.EX_TEMPFAIL)
