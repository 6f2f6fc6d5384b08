"""The work of a prediction run: planned, then done in a thread of its own while Dagster reports."""

import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from assets.plan import Plan
from constellation_pipelines.domain.errors import LeaseLost, PixelsLate, ServiceUnavailable
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.run_ends import STARVED
from resources.engines import EnginesResource
from resources.lake import LakeResource


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run works with. The database is open."""

    database: Database
    lake: LakeResource
    engines: EnginesResource


class Log(Protocol):
    """Where a run's lines go: Dagster's log of the step, once there is one."""

    def info(self, msg: str) -> None:
        """What is as it should be."""

    def warning(self, msg: str) -> None:
        """What is not, though the run goes on."""


class Notes:
    """A log that keeps lines until the step's own log can take them. `first` is set by the first:
    it comes with the first tiles, or with what went wrong before them.
    """

    def __init__(self) -> None:
        self.first = threading.Event()
        self._lines: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()

    def info(self, msg: str) -> None:
        """Keep a line of level info."""
        self._lines.put(("info", msg))
        self.first.set()

    def warning(self, msg: str) -> None:
        """Keep a line of level warning."""
        self._lines.put(("warning", msg))
        self.first.set()

    def close(self) -> None:
        """There will be no more lines."""
        self._lines.put(None)
        self.first.set()

    def follow(self, log: Log) -> None:
        """Hand lines on, as they come, until there will be no more."""
        while (line := self._lines.get()) is not None:
            level, text = line
            (log.warning if level == "warning" else log.info)(text)


class BegunRun:
    """A plan and, behind it, the thread that carries it out.

    `make_plan` runs at once and in the caller's thread; what it raises is kept for `plan`. `carry`
    does the work and returns what is to be said of the device.
    """

    def __init__(
        self,
        tools: Tools,
        make_plan: Callable[[], Plan],
        carry: Callable[[Plan, Log], dict[str, Any]],
    ) -> None:
        self.tools = tools
        self._plan: Plan | None = None
        self._carry = carry
        self._notes = Notes()
        self._device: dict[str, Any] = {}
        self._error: BaseException | None = None
        try:
            self._plan = make_plan()
        except (LeaseLost, ServiceUnavailable) as error:
            leave(error)
        except Exception as error:
            self._error = error
            self._notes.close()
            return
        threading.Thread(target=self._run, name="work", daemon=True).start()

    def wait_for_first_tile(self, longest_s: float) -> None:
        """Return once the first tile is committed, the work has ended, or the time is over."""
        self._notes.first.wait(longest_s)

    def plan(self) -> Plan:
        """What is to be done. Raises what making the plan raised."""
        if self._plan is None:
            assert self._error is not None
            raise self._error
        return self._plan

    def follow(self, log: Log) -> dict[str, Any]:
        """Log the work until it is done; what is to be said of the device. Raises its error."""
        self._notes.follow(log)
        if self._error is not None:
            raise self._error
        return self._device

    def _run(self) -> None:
        try:
            self._device = self._carry(self.plan(), self._notes)
        except (LeaseLost, PixelsLate, ServiceUnavailable) as error:
            leave(error)
        except BaseException as error:
            self._error = error
        finally:
            self._notes.close()


def leave(error: LeaseLost | PixelsLate | ServiceUnavailable) -> NoReturn:
    """End this process without a word to Dagster: another one has the run now, or will have.

    Whatever this one reported would be taken for the other's word. Its worker queues the run again
    where it was only the database that was away, or pixels that were late.
    """
    print(error.message, file=sys.stderr, flush=True)
    os._exit(STARVED if isinstance(error, PixelsLate) else os.EX_TEMPFAIL)
