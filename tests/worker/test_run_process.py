"""What an operator reads in Dagster's UI about where a run is."""

import os

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from constellation_pipelines.worker.orders import RunOrder
from constellation_pipelines.worker.run_process import execute, tell_operator
from tests.launcher.conftest import instance as instance
from tests.launcher.test_launcher import make, submit


@pytest.fixture
def run(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterRun:
    monkeypatch.setenv("CONSTELLATION_HOST_NAME", "rack-7")
    return submit(instance, make(instance))


def order(run: dg.DagsterRun, attempt: int, reason: str | None) -> RunOrder:
    return RunOrder(run.run_id, "", 1, attempt, {"GPU-1": "/a", "GPU-2": "/b"}, reason)


def messages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    return [record.message for record in instance.all_logs(run.run_id)]


def test_a_run_that_starts_says_where_in_the_event_it_needs_anyway(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    before = len(messages(instance, run))
    tell_operator(instance, run, order(run, 1, None))
    (message,) = messages(instance, run)[before:]
    assert "Starting attempt 1 on host rack-7, GPU-1, GPU-2, process" in message
    started = instance.get_run_by_id(run.run_id)
    assert started is not None
    assert started.status == dg.DagsterRunStatus.STARTING


def test_a_run_that_goes_on_says_why(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    tell_operator(instance, run, order(run, 1, None))
    going_on = instance.get_run_by_id(run.run_id)
    assert going_on is not None
    tell_operator(instance, going_on, order(run, 2, "The run's process was ended by SIGKILL."))
    last = messages(instance, run)[-1]
    assert "Going on: attempt 2 on host rack-7" in last
    assert last.endswith("The run's process was ended by SIGKILL.")


def test_a_run_of_a_job_that_is_not_loaded_yet_is_given_back(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    before = messages(instance, run)
    reference = serialize_value(instance.get_ref())
    given = RunOrder(run.run_id, reference, 1, 1, {})
    assert execute(given, warm=instance, loaded={"another_job"}) == os.EX_TEMPFAIL
    assert messages(instance, run) == before
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert not found.is_finished
