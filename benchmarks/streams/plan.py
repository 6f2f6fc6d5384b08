"""How much is asked of the streams; all of it can be made smaller for a first look."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Readers of one job, and how its tiles are committed.

    A run commits what came together in COMMIT_S, or 64 tiles (`assets/predicting.py`); the job's
    runs do so in turns. With `singly` every tile has a transaction of its own.
    """

    sockets: int
    events: int
    per_s: float
    runs: int = 4
    singly: bool = False
    cut_share: float = 0.0  # of the sockets, each time
    cut_every_s: float = 4.0

    @property
    def commits(self) -> list[tuple[float, int, int]]:
        """When, in seconds from the start, which run commits how many tiles."""
        each = 1 if self.singly else max(1, round(self.per_s * COMMIT_S / self.runs))
        found, left, number = [], self.events, 0
        while left > 0:
            count = min(each, left)
            found.append(((self.events - left) / self.per_s, number % self.runs, count))
            left -= count
            number += 1
        return found

    @property
    def lasts_s(self) -> float:
        """How long the commits take."""
        return self.events / self.per_s


COMMIT_S = 0.2

SOCKETS = int(os.environ.get("STREAMS_SOCKETS", "1000"))
EVENTS = int(os.environ.get("STREAMS_EVENTS", "10000"))
PER_S = float(os.environ.get("STREAMS_PER_S", "250"))
LOG_SECONDS = float(os.environ.get("STREAMS_LOG_SECONDS", "20"))

JOB = Plan(SOCKETS, EVENTS, PER_S, cut_share=0.1)
SINGLE = Plan(SOCKETS, max(100, EVENTS // 5), min(PER_S, 200.0), singly=True)
