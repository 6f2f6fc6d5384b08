"""Which tests share a process when several run them: those of a file, and all of whole stacks.

pytest-xdist's own groups are not used: with pytest 9.2 they are silently none, and every test goes
where there is room, away from the fixtures, the order and the services of its file.
"""

from xdist.scheduler import LoadScopeScheduling

# They start whole stacks, or share one, and measure waits: one after the other.
STACKS = ("demo", "e2e", "stack", "web")
SLOW = ("worker", "assets", "inference", "api")  # of those without stacks


def unit_of(nodeid: str) -> str:
    """The unit of tests that this one belongs to; `nodeid` is relative to the checkout."""
    file = nodeid.partition("::")[0]
    return "stacks" if room_of(file) in STACKS else file


def room_of(nodeid: str) -> str:
    """The folder below tests/ that a test lies in; its file's name where it lies in none."""
    return nodeid.partition("::")[0].removeprefix("tests/").partition("/")[0]


def place_of(nodeid: str) -> int:
    """Where in the order of units this test's has its place: first what takes longest, so that the
    process which is done first has least to wait for.
    """
    order = (*STACKS, *SLOW)
    room = room_of(nodeid)
    return order.index(room) if room in order else len(order)


class ByUnit(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out whole units, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
