"""The newest code takes the next run, and no run is dropped for it.

The tests stand at the zygotes' end of real channels.
"""

import select
import socket
from typing import Any

import pytest

from constellation_pipelines.worker import zygotes as module
from constellation_pipelines.worker.orders import Channel, Message, RunOrder, encode
from constellation_pipelines.worker.zygotes import Handle, Zygotes


class House:
    """Zygotes played by the test. `code` is what lies on disk; `started` are their ends."""

    def __init__(self) -> None:
        self.code = "one"
        self.started: list[Channel] = []
        self.ended: list[Channel] = []
        self.zygotes = Zygotes(self._start, lambda: self.code)
        self.zygotes.tick()

    def _start(self, stamp: str) -> Handle:
        ours, theirs = socket.socketpair()
        theirs.settimeout(5)
        far = Channel(theirs)
        self.started.append(far)
        return Handle(Channel(ours), lambda: self.ended.append(far), stamp)

    def hear(self) -> list[Message]:
        """What is to be heard now."""
        readable, _, _ = select.select(self.zygotes.channels, [], [], 0)
        return list(self.zygotes.hear(readable))

    def say(self, far: Channel, **message: Any) -> list[Message]:
        """Let a zygote say something, and hear it."""
        far.send(encode(message))
        return self.hear()

    def die(self, far: Channel) -> list[Message]:
        """Let a zygote end, and hear of it."""
        far.connection.close()
        return self.hear()

    def run(self, name: str) -> None:
        self.zygotes.run(RunOrder(name, "{}", 1, 1, {}))

    def close(self) -> None:
        self.zygotes.stop()
        for far in self.started:
            far.connection.close()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    opened = House()
    yield opened
    opened.close()


@pytest.fixture
def first(house: House) -> Channel:
    """A zygote that is warm."""
    house.say(house.started[0], ready=1)
    return house.started[0]


def ordered(far: Channel) -> list[str]:
    return [message["run"]["run_id"] for message in far.receive()]


def test_no_run_is_taken_before_a_zygote_is_warm(house: House) -> None:
    assert not house.zygotes.is_warm
    house.say(house.started[0], ready=1)
    assert house.zygotes.is_warm


def test_unchanged_code_needs_no_new_zygote(house: House, first: Channel) -> None:
    house.zygotes.tick()
    assert house.started == [first]


def test_changed_code_takes_the_next_run_while_the_old_code_sees_its_run_out(
    house: House, first: Channel
) -> None:
    house.run("a")
    house.code = "two"
    house.zygotes.tick()
    second = house.started[1]
    house.run("b")
    assert [*ordered(first)] == ["a", "b"], "the new zygote was not warm yet"
    house.say(second, ready=2)
    house.run("c")
    assert ordered(second) == ["c"]
    house.zygotes.tick()
    assert house.ended == [], "the old one has runs"
    assert house.say(first, exited="a", code=0) == [{"exited": "a", "code": 0}]
    house.zygotes.tick()
    assert house.ended == []
    house.say(first, exited="b", code=0)
    house.zygotes.tick()
    assert house.ended == [first]


def test_a_run_is_interrupted_where_it_is(house: House, first: Channel) -> None:
    house.run("a")
    house.code = "two"
    house.zygotes.tick()
    house.say(house.started[1], ready=2)
    ordered(first)
    house.zygotes.interrupt("a")
    house.zygotes.kill("a")
    assert first.receive() == [{"interrupt": "a"}, {"kill": "a"}]


def test_code_that_does_not_load_is_left_until_it_changes(house: House, first: Channel) -> None:
    house.code = "broken"
    house.zygotes.tick()
    assert house.die(house.started[1]) == []
    assert house.zygotes.is_warm
    house.zygotes._start_at = 0
    house.zygotes.tick()
    assert len(house.started) == 2
    house.code = "mended"
    house.zygotes.tick()
    assert len(house.started) == 3


def test_a_dead_zygote_takes_its_runs_along_and_is_followed_by_another(
    house: House, first: Channel
) -> None:
    house.run("a")
    assert house.die(first) == [{"exited": "a", "code": -9}]
    assert not house.zygotes.is_warm
    house.zygotes._start_at = 0
    house.zygotes.tick()
    house.say(house.started[1], ready=2)
    assert house.zygotes.is_warm


def test_an_order_to_a_zygote_that_has_just_died_is_told_of_as_ended(
    house: House, first: Channel
) -> None:
    first.connection.close()
    house.run("a")
    assert house.hear() == [{"exited": "a", "code": -9}]


def test_the_first_zygote_is_tried_again_ever_later(house: House) -> None:
    for attempt in range(3):
        house.die(house.started[attempt])
        house.zygotes.tick()
        assert len(house.started) == attempt + 1, "not at once"
        house.zygotes._start_at = 0
        house.zygotes.tick()
        assert len(house.started) == attempt + 2
