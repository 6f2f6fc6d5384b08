"""Turns on a device are fair."""

import threading
import time
from itertools import pairwise

from constellation_pipelines.inference.turns import Turns


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(), []

    def take(name: int) -> None:
        with turns.turn():
            order.append(name)

    threads = []
    with turns.turn():
        for name in range(8):
            threads.append(threading.Thread(target=take, args=(name,)))
            threads[-1].start()
            while len(turns._waiting) <= name:
                time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    assert order == list(range(8))


def test_one_who_comes_back_at_once_queues_behind_those_who_wait() -> None:
    turns, order = Turns(), []
    left = {"a": 20, "b": 20}

    def work(name: str, other: str) -> None:
        while left[name]:
            with turns.turn():
                order.append(name)
                left[name] -= 1
                while left[other] and not turns._waiting:
                    time.sleep(0.001)

    threads = [threading.Thread(target=work, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(one != other for one, other in pairwise(order))
    assert len(order) == 40


def test_it_knows_how_long_the_present_turn_has_lasted() -> None:
    turns = Turns()
    assert turns.busy_s is None
    with turns.turn():
        time.sleep(0.02)
        assert (turns.busy_s or 0) >= 0.02
    assert turns.busy_s is None


def test_an_error_in_a_turn_passes_it_on() -> None:
    turns = Turns()
    try:
        with turns.turn():
            raise ValueError
    except ValueError:
        pass
    assert turns.wait_idle(1.0)
    assert not turns.wait_idle(0.05), "whoever waited for the end keeps the device"


def test_as_many_hold_the_device_at_once_as_it_has_places() -> None:
    turns, met = Turns(places=3), threading.Barrier(3)

    def take() -> None:
        with turns.turn():
            met.wait(60)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not met.broken
    assert turns.busy_s is None
    assert turns.wait_idle(1.0)


def test_the_longest_of_the_present_turns_counts() -> None:
    turns = Turns(places=2)
    with turns.turn():
        time.sleep(0.05)
        other = threading.Thread(target=lambda: turns._take())
        other.start()
        other.join(60)
        assert (turns.busy_s or 0) >= 0.05
