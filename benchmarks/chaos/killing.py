"""The course of a suite: what is killed, when, and how long it takes to make that good."""

import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from benchmarks.chaos import strikes
from benchmarks.chaos.kill import NOTICE_LIMIT_S, RUN_LIMIT_S, Kill
from benchmarks.chaos.observer import Away, Observer
from benchmarks.chaos.strikes import Strike
from constellation_pipelines.stack.process import send

# Run processes and engines die most often in life; services less so.
DECK = (*("run process", "engine") * 2, *strikes.KINDS)
SHORT = ("run process", "engine", "api", "zygote", "nats", "dispatcher", "postgres", "worker")
LOOK_S = 0.03


@dataclass(frozen=True, slots=True)
class Course:
    """How a suite runs. `kills` is how many of a shuffled deck, or exactly these kinds in turn."""

    seed: int
    kills: int | tuple[str, ...]
    sizes_px: tuple[int, ...] = (2048, 3072, 4096)
    open_jobs: int = 4
    cancelled_share: float = 0.1
    pairs_share: float = 0.15  # of kills that come with a second one at the same moment
    longest_wait_s: float = 3.0  # before a kill, so that it comes at any moment of a run
    rest: bool = True  # kill a service only when `up` does not pause longer than the last time


def kills(course: Course, observer: Observer) -> Iterator[Kill]:
    """Kill one process after the other, now and then two at once, each time until all is good."""
    chance = random.Random(course.seed + 2)
    planned = list(course.kills) if isinstance(course.kills, tuple) else []
    left = len(planned) if isinstance(course.kills, tuple) else course.kills
    number = 0
    while left:
        while len(planned) < max(left, len(DECK)) and not isinstance(course.kills, tuple):
            planned += chance.sample(DECK, len(DECK))
        time.sleep(chance.uniform(0, course.longest_wait_s))
        blow = [next_strike(course, observer, planned, chance)]
        if left > 1 and chance.random() < course.pairs_share:
            blow += companion(course, observer, planned, chance, blow[0])
        made = carry_out(blow, observer)  # without those whose victim had just ended
        planned[:0] = sorted({strike.kind for strike in blow} - {kill.kind for kill in made})
        for kill in made:
            number, left = number + 1, left - 1
            print(f"{number:>4} {kill}", flush=True)
            yield kill


def next_strike(
    course: Course, observer: Observer, planned: list[str], chance: random.Random
) -> Strike:
    """A strike of the first planned kind that can be hit; it is taken out of the plan.

    Raises RuntimeError when there is none for long.
    """
    deadline = time.monotonic() + RUN_LIMIT_S
    while time.monotonic() < deadline:
        # A fixed plan keeps its order; a deck passes over kinds that have to rest.
        for kind in planned if course.rest else planned[:1]:
            strike = aim(course, observer, kind, chance)
            if strike is not None:
                planned.remove(kind)
                return strike
        time.sleep(0.1)
    raise RuntimeError(f"there was no {planned[0]} to kill for {RUN_LIMIT_S:g} s")


def companion(
    course: Course, observer: Observer, planned: list[str], chance: random.Random, first: Strike
) -> list[Strike]:
    """A second process to kill with the first, of another kind, where one can be hit now."""
    for kind in planned:
        if kind != first.kind and {kind, first.kind} != {"zygote", "worker"}:
            strike = aim(course, observer, kind, chance)
            if strike is not None:
                planned.remove(kind)
                return [strike]
    return []


def aim(course: Course, observer: Observer, kind: str, chance: random.Random) -> Strike | None:
    """A strike of this kind, or None where nobody can be hit now or the service has to rest."""
    try:
        if course.rest and strikes.rest_s(observer, kind, datetime.now(UTC)) > 0:
            return None
        return strikes.aim(observer, kind, chance)
    except Away:
        return None


def carry_out(blow: Sequence[Strike], observer: Observer) -> list[Kill]:
    """Kill, and watch until the work goes on; the kills that hit."""
    watches = [Watch(strike) for strike in blow if send(strike.victim, signal.SIGKILL)]
    while not all([watch.look() for watch in watches]):
        time.sleep(LOOK_S)
    return [watch.kill for watch in watches]


class Watch:
    """Times how long one kill takes to be made good, from the moment it is made."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike
        self._killed_at = time.monotonic()
        self._noticed_at: datetime | None = None
        self.kill = Kill(strike.kind, strike.what, None, None)

    def look(self) -> bool:
        """Look once, unless it is made good already; whether there is nothing more to wait for."""
        if self.kill.running_s is not None:
            return True
        with suppress(Away):
            if self._noticed_at is None and self._strike.noticed():
                self._noticed_at = datetime.now(UTC)
                self.kill = replace(self.kill, noticed_s=self._passed_s)
            if self._noticed_at and self._strike.running_since(self._noticed_at):
                self.kill = replace(self.kill, running_s=self._passed_s)
        limit_s = NOTICE_LIMIT_S if self._noticed_at is None else RUN_LIMIT_S
        return self.kill.running_s is not None or self._passed_s > limit_s

    @property
    def _passed_s(self) -> float:
        return time.monotonic() - self._killed_at
