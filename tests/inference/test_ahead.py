"""A generator that works ahead in a thread of its own."""

import threading
import time
from collections.abc import Iterator

import pytest

from constellation_pipelines.domain.errors import ReadFailed
from constellation_pipelines.inference.ahead import AHEAD, Ahead

WAIT_S = 60.0


def numbers(made: list[int], count: int = 12) -> Iterator[int]:
    for number in range(count):
        made.append(number)
        yield number


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reader"]


def test_everything_comes_in_order() -> None:
    with Ahead(lambda: numbers([])) as ahead:
        assert list(ahead) == list(range(12))
        assert ahead.next(wait=True) is None


def test_it_works_only_a_little_ahead() -> None:
    made: list[int] = []
    with Ahead(lambda: numbers(made)) as ahead:
        deadline = time.monotonic() + WAIT_S
        while len(made) < AHEAD + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(made) == AHEAD + 1, "the queue, and one that waits to go into it"
        assert len(list(ahead)) == 12


def test_who_does_not_wait_gets_nothing_where_nothing_is_ready() -> None:
    go = threading.Event()

    def late() -> Iterator[int]:
        go.wait(WAIT_S)
        yield 1

    with Ahead(late) as ahead:
        assert ahead.next(wait=False) is None
        assert not ahead.ended
        go.set()
        assert ahead.next(wait=True) == 1
        assert ahead.next(wait=True) is None
        assert ahead.ended


def test_leaving_early_stops_the_thread_and_closes_the_generator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with Ahead(endless) as ahead:
        ahead.next(wait=True)
    assert closed.is_set()
    assert not readers()


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ReadFailed("no more")

    with Ahead(failing) as ahead:
        assert ahead.next(wait=True) == 1
        with pytest.raises(ReadFailed, match="no more"):
            ahead.next(wait=True)


def test_an_error_of_someone_elses_says_no_more_than_that_reading_failed() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("/secret/path")

    with Ahead(failing) as ahead, pytest.raises(ReadFailed, match="cannot be read") as failure:
        list(ahead)
    assert "/" not in str(failure.value)
