"""A run's work may begin before its step, and the step hears all of it."""

import subprocess
import sys
import threading
from typing import Any, cast

import pytest

from assets.begun import BegunRun, Log, Tools
from assets.plan import Plan
from constellation_pipelines.domain.errors import SceneUnfit

TOOLS = cast(Tools, None)  # this is not about them
PLAN = cast(Plan, "the plan")


class Lines:
    """A step's log."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def info(self, msg: str) -> None:
        self.heard.append(("info", msg))

    def warning(self, msg: str) -> None:
        self.heard.append(("warning", msg))


def begin(carry: Any) -> BegunRun:
    return BegunRun(TOOLS, lambda: PLAN, carry)


def test_what_was_said_before_the_step_is_in_its_log() -> None:
    def carry(plan: Plan, log: Log) -> dict[str, Any]:
        log.info("1 of 2 tiles")
        log.warning("the engine died")
        log.info("2 of 2 tiles")
        return {"device": "GPU-1"}

    run, lines = begin(carry), Lines()
    assert run.plan() == PLAN
    assert run.follow(lines) == {"device": "GPU-1"}
    assert lines.heard == [
        ("info", "1 of 2 tiles"),
        ("warning", "the engine died"),
        ("info", "2 of 2 tiles"),
    ]


def test_what_ended_the_work_ends_the_step_after_its_lines() -> None:
    def carry(plan: Plan, log: Log) -> dict[str, Any]:
        log.info("1 of 2 tiles")
        raise SceneUnfit("the file has gone")

    run, lines = begin(carry), Lines()
    with pytest.raises(SceneUnfit, match="the file has gone"):
        run.follow(lines)
    assert lines.heard == [("info", "1 of 2 tiles")]


def test_a_plan_that_failed_is_the_steps_to_tell() -> None:
    def plan() -> Plan:
        raise SceneUnfit("it has no band red")

    run = BegunRun(TOOLS, plan, lambda plan, log: {})
    run.wait_for_first_tile(60)  # at once: there is nothing to wait for
    with pytest.raises(SceneUnfit, match="it has no band red"):
        run.plan()


def test_the_first_tile_is_waited_for_and_no_longer() -> None:
    go_on = threading.Event()

    def carry(plan: Plan, log: Log) -> dict[str, Any]:
        log.info("1 of 2 tiles")
        go_on.wait(60)
        return {}

    run = begin(carry)
    run.wait_for_first_tile(60)  # returns although the work is not done
    go_on.set()
    run.follow(Lines())


def test_a_slow_first_tile_does_not_hold_dagster_up() -> None:
    go_on = threading.Event()
    run = begin(lambda plan, log: {"waited": go_on.wait(60)})
    run.wait_for_first_tile(0.01)
    go_on.set()
    assert run.follow(Lines()) == {"waited": True}


LOST = """
from assets.begun import BegunRun
from constellation_pipelines.domain.errors import {error}

def lose(*_):
    raise {error}("somebody else has it")

run = BegunRun(None, {plan}, lose)
run.wait_for_first_tile(60)
"""


@pytest.mark.parametrize("error", ["LeaseLost", "ServiceUnavailable"])
@pytest.mark.parametrize("plan", ["lose", "lambda: 'plan'"])
def test_a_process_that_may_not_go_on_leaves_without_a_word(error: str, plan: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(error=error, plan=plan) + "import time; time.sleep(60)"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 75  # EX_TEMPFAIL: the worker knows what that means
    assert done.stderr.strip() == "somebody else has it"
