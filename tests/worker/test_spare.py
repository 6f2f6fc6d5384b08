"""Run processes forked ahead of need: a run takes one, and none is lost where one has died."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from constellation_pipelines.worker.orders import Channel, Message, RunOrder, run_order

WAIT_S = 60.0

# A zygote whose run processes, spare or not, say whose run they have by their exit code.
PROGRAM = """
import socket, sys
from constellation_pipelines.worker import run_process
from constellation_pipelines.worker.orders import Channel
from constellation_pipelines.worker.zygote import Zygote

run_process.prepare = lambda early: None
run_process.execute = lambda order, early=None, warm=None: int(order.run_id)

Zygote(Channel(socket.socket(fileno=int(sys.argv[1]))), __name__, spares=1).serve()
"""


class Scene:
    """A zygote with one spare, and the supervisor's end of its channel."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(WAIT_S)
        self.child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self.process = psutil.Process(self.child.pid)
        self.channel = Channel(ours)
        self._heard: list[Message] = []
        assert "ready" in self.hear()

    def hear(self) -> Message:
        """The next message of the zygote."""
        while not self._heard:
            self._heard = self.channel.receive()
            assert self._heard, "the zygote has ended"
        return self._heard.pop(0)

    def spare(self) -> psutil.Process:
        """The process that waits for a run."""
        eventually(lambda: len(self.process.children()) == 1)
        return self.process.children()[0]

    def run(self, number: int) -> int:
        """Order a run that exits with `number`; the pid it was given."""
        self.channel.send(run_order(RunOrder(str(number), "{}", 1, 1, {})))
        started = self.hear()
        assert started["started"] == str(number)
        assert self.hear() == {"exited": str(number), "code": number}
        return int(started["pid"])


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.channel.connection.close()
    made.child.kill()
    made.child.wait()


def test_a_run_takes_the_process_that_waits_for_it(scene: Scene) -> None:
    spare = scene.spare()
    assert scene.run(7) == spare.pid


def test_the_spare_that_was_taken_is_followed_by_another(scene: Scene) -> None:
    first = scene.spare().pid
    scene.run(7)
    second = scene.spare().pid
    assert second != first
    assert scene.run(8) == second


def test_a_run_that_finds_no_spare_has_a_process_all_the_same(scene: Scene) -> None:
    scene.spare()
    scene.run(7)
    scene.run(8)


def test_a_spare_that_has_died_is_replaced_and_nobody_hears_of_it(scene: Scene) -> None:
    spare = scene.spare()
    os.kill(spare.pid, signal.SIGKILL)
    eventually(lambda: scene.process.children() != [spare] and len(scene.process.children()) == 1)
    scene.run(9)


def test_a_spare_ends_with_its_zygote(scene: Scene) -> None:
    spare = scene.spare()
    scene.child.kill()
    eventually(lambda: not spare.is_running() or spare.status() == psutil.STATUS_ZOMBIE)
