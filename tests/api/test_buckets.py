"""How often an account may ask."""

from hypothesis import given
from hypothesis import strategies as st

from api.buckets import REMEMBERED, Buckets


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_full_bucket_allows_a_burst_and_then_a_steady_pace() -> None:
    clock = Clock()
    buckets = Buckets(2, 3, clock)
    assert [buckets.take("ann") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now_s = 0.5
    assert buckets.take("ann") == 0
    assert buckets.take("ann") == 0.5
    assert buckets.take("ben") == 0


def test_waiting_as_told_is_enough() -> None:
    clock = Clock()
    buckets = Buckets(0.2, 1, clock)
    buckets.take("ann")
    clock.now_s += buckets.take("ann")
    assert buckets.take("ann") == 0


@given(st.lists(st.floats(0, 3), max_size=60))
def test_never_more_than_the_burst_and_the_pace_allow(pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(2, 5, clock)
    taken = 0
    for pause_s in pauses:
        clock.now_s += pause_s
        taken += buckets.take("ann") == 0
        assert taken <= 5 + 2 * clock.now_s + 1e-6


def test_a_token_that_was_for_nothing_comes_back() -> None:
    buckets = Buckets(1, 1, Clock())
    assert buckets.take("ann") == 0
    buckets.give_back("ann")
    assert buckets.take("ann") == 0
    for _ in range(5):
        buckets.give_back("ann")
    assert [buckets.take("ann") > 0 for _ in range(2)] == [False, True]


def test_not_every_name_is_remembered() -> None:
    buckets = Buckets(1, 1, Clock())
    for n in range(REMEMBERED + 1):
        buckets.take(str(n))
    assert buckets.take("0") == 0  # forgotten, and so full
    assert buckets.take(str(REMEMBERED)) > 0
