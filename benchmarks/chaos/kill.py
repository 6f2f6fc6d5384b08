"""A process that was killed, and how long it took to make that good."""

from dataclasses import dataclass

NOTICE_LIMIT_S = 60.0  # nobody waits longer for a kill to be noticed
RUN_LIMIT_S = 180.0  # nor for the work to go on


@dataclass(frozen=True, slots=True)
class Kill:
    """Times are seconds from the kill; None where the limit passed first."""

    kind: str
    what: str
    noticed_s: float | None
    running_s: float | None

    def __str__(self) -> str:
        noticed, running = seconds(self.noticed_s), seconds(self.running_s)
        return f"{self.kind:<18} noticed {noticed}  running {running}  {self.what}"


def seconds(value: float | None) -> str:
    """A time, or that it never came."""
    return "  never" if value is None else f"{value:5.2f} s"
