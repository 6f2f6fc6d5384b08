"""The body of a forked run process: one Dagster run, no torch, no CUDA."""

import json
import os

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body, _resume_run_command_body
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

from constellation_pipelines.launcher.instances import pool_connections
from constellation_pipelines.worker.orders import RunOrder

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
        return execute_body(instance, run)


def execute_body(instance: DagsterInstance, run: DagsterRun) -> int:
    """Start the run, or resume it where a dead process left it."""
    if run.status in WAITING:
        starting = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, job_name=run.job_name)
        instance.report_dagster_event(starting, run_id=run.run_id)
    began = run.status == DagsterRunStatus.STARTED
    body = _resume_run_command_body if began else _execute_run_command_body
    return body(run.run_id, instance, lambda event: None, set_exit_code_on_failure=True)


def open_instance(instance_ref: str) -> DagsterInstance:
    """The run's instance with pooled connections. Only ever opened after the fork."""
    instance = DagsterInstance.from_ref(deserialize_value(instance_ref, InstanceRef))
    pool_connections(instance)
    return instance
