"""Starts services in the order of their needs, keeps them running, stops them in reverse."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.stack.runner import Runner
from constellation_pipelines.stack.service import Service, State
from constellation_pipelines.stack.status import ServiceStatus

PAUSE_S = 0.05

Report = Callable[[Sequence[ServiceStatus]], None]


class Supervisor:
    """Single-threaded: the kernel ends the services when the thread that started them ends.

    `report` hears the status of all services after every change.
    """

    def __init__(self, services: Sequence[Service], *, logs: Path, report: Report) -> None:
        check_needs(services)
        self._runners = [Runner(service, logs) for service in services]
        self._report = report

    @property
    def statuses(self) -> tuple[ServiceStatus, ...]:
        """How each service is, in start order."""
        return tuple(runner.status for runner in self._runners)

    @property
    def all_up(self) -> bool:
        """Whether each service is ready, each step done."""
        return all(runner.is_up for runner in self._runners)

    def start(self, should_stop: Callable[[], bool]) -> None:
        """Return when all are up, or when told to stop.

        Raises ServiceUnavailable when one does not start; the others still run, so call `stop`.
        """
        while not self.all_up and not should_stop():
            self.tick()
            for runner in self._runners:
                if runner.has_failed:
                    raise ServiceUnavailable(runner.failure)
            time.sleep(PAUSE_S)

    def watch(self, should_stop: Callable[[], bool]) -> None:
        """Start again what ends, until told to stop."""
        while not should_stop():
            self.tick()
            time.sleep(PAUSE_S)

    def tick(self) -> None:
        """One look at every service."""
        up = {runner.service.name for runner in self._runners if runner.is_up}
        changes = [runner.tick(up) for runner in self._runners]
        if any(changes):
            self._report(self.statuses)

    def stop(self) -> None:
        """Stop all: first those that nothing depends on, together, then those they needed."""
        left = list(reversed(self._runners))
        while left:
            needed = {name for runner in left for name in runner.service.needs}
            wave = [runner for runner in left if runner.service.name not in needed]
            for runner in wave:
                runner.ask_to_stop()
            for runner in wave:
                runner.stop()
                self._report(self.statuses)
            left = [runner for runner in left if runner.state is not State.STOPPED]


def check_needs(services: Sequence[Service]) -> None:
    """Raises InvalidInput unless each service needs only services before it."""
    before: set[str] = set()
    for service in services:
        unknown = set(service.needs) - before
        if unknown or service.name in before:
            raise InvalidInput(f"service {service.name} comes twice or needs {sorted(unknown)}")
        before.add(service.name)
