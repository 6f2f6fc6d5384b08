"""Run processes forked ahead of need: a run takes one, and none is lost where one has died."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from constellation_pipelines.worker.orders import RunOrder, run_order
from tests.worker.house import House, eventually, gone, opened

# A zygote whose run processes, spare or not, say whose run they have by their exit code.
PROGRAM = """
import socket, sys
from constellation_pipelines.worker import run_process
from constellation_pipelines.worker.orders import Channel
from constellation_pipelines.worker.zygote import Zygote

run_process.prepare = lambda early: None
run_process.execute = lambda order, early=None, warm=None, loaded=None: int(order.run_id)

Zygote(Channel(socket.socket(fileno=int(sys.argv[1]))), __name__, spares=1).serve()
"""


class Scene(House):
    """A zygote with one spare."""

    def __init__(self) -> None:
        super().__init__(PROGRAM)

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


@pytest.fixture
def scene() -> Iterator[Scene]:
    with opened(Scene()) as made:
        yield made


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
    eventually(lambda: gone(spare))
