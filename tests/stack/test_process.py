import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from constellation_pipelines.stack.process import (
    MARK,
    ProcessId,
    end_marked,
    identify,
    marked,
    own_identity,
    send,
    wait,
)

# What the run of the tests ignores, which Dagster can make it, a program of theirs ignores too.
SLEEPER = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "deaf" else signal.SIG_DFL)
print(flush=True)
time.sleep(600)
"""
OURS, OTHERS = f"ours-{uuid.uuid4()}", f"others-{uuid.uuid4()}"  # of this run, and of no other


@pytest.fixture
def manner() -> str:
    return "polite"


@pytest.fixture
def sleeper(manner: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A marked process that sleeps: polite ones end on TERM, deaf ones do not."""
    command = [sys.executable, "-c", SLEEPER, manner]
    child = subprocess.Popen(command, env={**os.environ, MARK: OURS}, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_process_is_known_by_number_and_start(sleeper: "subprocess.Popen[bytes]") -> None:
    process = identify(sleeper.pid)
    assert process is not None
    assert process.is_alive
    assert identify(os.getpid()) == own_identity()


def test_a_stranger_with_the_same_number_is_never_signalled(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    stranger = ProcessId(sleeper.pid, "another-boot:1")
    assert not stranger.is_alive
    assert not send(stranger, signal.SIGKILL)
    assert wait(stranger, 0.0)
    assert sleeper.poll() is None


def test_a_process_that_has_gone_is_not_alive(sleeper: "subprocess.Popen[bytes]") -> None:
    process = identify(sleeper.pid)
    assert process is not None
    sleeper.kill()
    assert wait(process, 10.0)
    assert not process.is_alive  # though nobody has reaped it yet
    assert not send(process, signal.SIGTERM)


def test_only_marked_processes_are_ended(sleeper: "subprocess.Popen[bytes]") -> None:
    assert end_marked(OTHERS, 1.0) == 0
    assert sleeper.poll() is None
    assert [process.pid for process in marked(OURS)] == [sleeper.pid]
    assert end_marked(OURS, 60.0) == 1
    assert sleeper.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("manner", ["deaf"])
def test_one_that_does_not_listen_is_killed(sleeper: "subprocess.Popen[bytes]") -> None:
    assert end_marked(OURS, 0.2) == 1
    assert sleeper.wait(10) == -signal.SIGKILL
