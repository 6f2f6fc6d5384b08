import os
import signal
import subprocess
import sys
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


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    child = subprocess.Popen(
        command, env={**os.environ, MARK: "stack-of-this-test"}, stdout=subprocess.PIPE
    )
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
    assert end_marked("stack-of-somebody-else", 1.0) == 0
    assert sleeper.poll() is None
    assert [process.pid for process in marked("stack-of-this-test")] == [sleeper.pid]
    assert end_marked("stack-of-this-test", 30.0) == 1
    assert sleeper.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)  # what TERM left, KILL ended
