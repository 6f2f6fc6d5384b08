"""A run's whole process group ends with its leader, and the leaders with the zygote."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from constellation_pipelines.worker.orders import encode
from tests.worker.house import WAIT_S, House, eventually, gone, opened

# A zygote whose runs start a child of their own, say who they are, and sleep.
PROGRAM = """
import socket, subprocess, sys, time
from constellation_pipelines.worker.orders import Channel
from constellation_pipelines.worker.zygote import Zygote

def body():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(600)
    return 0

class Small(Zygote):
    def _obey(self, message):
        if "run" in message:
            self._adopt(self._fork(body), message["run"])
        else:
            super()._obey(message)

Small(Channel(socket.socket(fileno=int(sys.argv[1]))), __name__, spares=0).serve()
"""


class Scene(House):
    """A zygote whose runs start a child of their own."""

    def __init__(self) -> None:
        super().__init__(PROGRAM)

    def start(self, name: str) -> list[psutil.Process]:
        """Start a run; the run's process and its child."""
        self.channel.send(encode({"run": name}))
        leader = psutil.Process(self.hear()["pid"])
        eventually(lambda: len(leader.children()) == 1)
        return [leader, *leader.children()]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with opened(Scene()) as made:
        yield made


def test_what_a_killed_run_started_ends_with_it(scene: Scene) -> None:
    group, other = scene.start("one"), scene.start("two")
    os.kill(group[0].pid, signal.SIGKILL)
    assert scene.hear() == {"exited": "one", "code": -signal.SIGKILL}
    eventually(lambda: all(gone(process) for process in group))
    assert not any(gone(process) for process in other)


def test_a_run_is_killed_with_what_it_started(scene: Scene) -> None:
    group = scene.start("one")
    scene.channel.send(encode({"kill": "one"}))
    assert scene.hear() == {"exited": "one", "code": -signal.SIGKILL}
    eventually(lambda: all(gone(process) for process in group))


def test_an_interrupted_run_may_end_by_itself(scene: Scene) -> None:
    scene.start("one")
    scene.channel.send(encode({"interrupt": "one"}))
    assert scene.hear() == {"exited": "one", "code": 1}


def test_runs_and_what_they_started_end_with_the_supervisor(scene: Scene) -> None:
    group = scene.start("one")
    scene.channel.connection.close()
    eventually(lambda: all(gone(process) for process in group))
    scene.child.wait(WAIT_S)


def test_a_zygote_that_is_told_to_end_takes_its_runs_along(scene: Scene) -> None:
    group = scene.start("one")
    scene.child.terminate()
    eventually(lambda: all(gone(process) for process in group))


def test_runs_end_with_a_killed_zygote(scene: Scene) -> None:
    leader, left = scene.start("one")
    scene.child.kill()
    eventually(lambda: gone(leader))
    left.kill()  # nobody was there to do it: the next worker would find it by its mark
