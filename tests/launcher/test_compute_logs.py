"""What a step prints is in its files, and in Dagster's UI, while the step goes on."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.launcher.compute_logs import ConstellationComputeLogManager
from constellation_pipelines.stack.dagster_home import instance_config

KEY = ["run", "compute_logs", "step"]

# A step that prints and goes on until it is told to end; nothing of it is flushed by hand.
STEP = """
import sys
from constellation_pipelines.launcher.compute_logs import ConstellationComputeLogManager as Manager
with Manager(sys.argv[1]).capture_logs(["run", "compute_logs", "step"]):
    print("to one")
    print("to the other", file=sys.stderr)
    while sys.stdin.readline() == "more\\n":
        print("more")
    print("no end", end="")
print("after")
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    config = instance_config(tmp_path)["compute_logs"]["config"]
    return Path(config["base_dir"])


@pytest.fixture
def step(base: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", STEP, str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield process
    process.kill()
    process.communicate()


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_lines_are_in_the_files_before_the_step_ends(
    step: "subprocess.Popen[str]", base: Path
) -> None:
    out, err = (base / "run" / "compute_logs" / f"step.{end}" for end in ("out", "err"))
    until(lambda: err.exists() and err.read_text() == "to the other\n")
    assert out.read_text() == "to one\n"
    printed, _ = step.communicate("end\n", timeout=60)
    assert out.read_text() == "to one\nno end"
    assert printed == "after\n"


def test_dagsters_page_shows_lines_while_the_step_goes_on(
    step: "subprocess.Popen[str]", base: Path, tmp_path: Path
) -> None:
    """By the subscription that Dagster's web server makes, as our instance sets it up."""
    out = base / "run" / "compute_logs" / "step.out"
    until(lambda: out.exists() and out.read_text() == "to one\n")
    config = instance_config(tmp_path)["compute_logs"]["config"]
    manager = ConstellationComputeLogManager.from_config_value(None, config)
    shown: list[str] = []
    subscription = manager.subscribe(KEY)
    subscription(lambda data: shown.append((data.stdout or b"").decode()))
    try:
        assert "".join(shown) == "to one\n"
        assert step.stdin is not None
        step.stdin.write("more\n")
        step.stdin.flush()
        until(lambda: "".join(shown) == "to one\nmore\n")
        assert step.poll() is None
    finally:
        manager.unsubscribe(subscription)  # type: ignore[no-untyped-call]  # Dagster's own
        manager.dispose()
