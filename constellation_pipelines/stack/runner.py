"""Keeps one service running."""

import os
import signal
import subprocess
import time
from collections.abc import Set
from datetime import UTC, datetime
from pathlib import Path

from constellation_pipelines.stack import child as children
from constellation_pipelines.stack.log import complaint, open_log
from constellation_pipelines.stack.process import identify
from constellation_pipelines.stack.service import Service, State
from constellation_pipelines.stack.status import ServiceStatus

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
CALM_S = 30.0  # up for so long, a service has its next failure counted as its first
ATTEMPTS = 4  # to become ready for the first time
PROBE_PAUSE_S = 0.15
LOOK_S = 2.0  # how often to look whether what a service has loaded has changed


class Runner:
    """Starts a service when what it needs is ready, and again, ever more slowly, when it ends.

    Call every method from the thread that made it.
    """

    def __init__(self, service: Service, logs: Path) -> None:
        self.service = service
        self.state = State.WAITING
        self.log = logs / f"{service.name}.log"
        self.restarts = 0
        self.since = datetime.now(UTC)
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start_bytes = 0
        self._failures = 0
        self._was_ready = False
        self._entered_s = time.monotonic()
        self._next_probe_s = 0.0
        self._stamp = ""
        self._next_look_s = 0.0
        self._renewing_until_s: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether others may rely on it."""
        return self.state in (State.READY, State.DONE)

    @property
    def has_failed(self) -> bool:
        """Whether it has used up its attempts to become ready for the first time."""
        attempts = 1 if self.service.once else ATTEMPTS
        return not self._was_ready and self._failures >= attempts

    @property
    def status(self) -> ServiceStatus:
        """How it is now."""
        process = identify(self._child.pid) if self._child else None
        return ServiceStatus(
            name=self.service.name,
            state=self.state,
            process=process,
            since=self.since,
            restarts=self.restarts,
            log=self.log,
            address=self.service.address,
        )

    @property
    def failure(self) -> str:
        """What to tell a person when it does not start."""
        said = complaint(self.log, self._log_start_bytes)
        return f"{self.service.name} did not start: {said or 'it said nothing'} (log: {self.log})"

    def tick(self, up: Set[str]) -> bool:
        """Do what is due, given the names of what is up; whether the state changed."""
        before = self.state
        if self.state is State.WAITING and up >= set(self.service.needs):
            self._start()
        elif self.state is State.PAUSED and self._seconds_in_state() >= self._pause_s():
            self.restarts += 1
            self._start()
        elif self._child is not None and children.has_ended(self._child):
            self._ended(children.stop(self._child, self.service.stop_signal, 0.0))
        elif self.state is State.STARTING:
            self._probe()
        elif self.state is State.READY:
            self._renew()
        return self.state is not before

    def ask_to_stop(self) -> None:
        """Tell it to stop, without waiting."""
        if self._child is not None:
            children.ask_to_stop(self._child, self.service.stop_signal)

    def stop(self) -> None:
        """Stop it and its process group; it is gone when this returns."""
        if self._child is not None:
            children.stop(self._child, self.service.stop_signal, self.service.stop_grace_s)
            self._child = None
        self._enter(State.STOPPED)

    def _renew(self) -> None:
        """Have a service end whose stamp has changed; it is started again once it is gone."""
        now = time.monotonic()
        if self._renewing_until_s is not None:
            if now > self._renewing_until_s and self._child is not None:
                children.ask_to_stop(self._child, signal.SIGKILL)
            return
        if self.service.stamp is None or now < self._next_look_s:
            return
        self._next_look_s = now + LOOK_S
        if self.service.stamp() != self._stamp:
            self._renewing_until_s = now + self.service.stop_grace_s
            self.ask_to_stop()

    def _start(self) -> None:
        if self.service.prepare:
            self.service.prepare()
        if self.service.stamp:
            self._stamp = self.service.stamp()
        with open_log(self.log) as log:
            self._log_start_bytes = log.seek(0, os.SEEK_END)
            self._child = children.spawn(
                self.service.command,
                log=log,
                account=self.service.account,
                env=self.service.env,
                folder=self.service.folder,
                death_signal=self.service.stop_signal,
            )
        self._enter(State.STARTING)

    def _probe(self) -> None:
        if self._child is None or self.service.once or time.monotonic() < self._next_probe_s:
            return
        if self.service.ready(self._child.pid):
            self._was_ready = True
            self._enter(State.READY)
        elif self._seconds_in_state() > self.service.start_timeout_s:
            self._ended(children.stop(self._child, self.service.stop_signal, 1.0))
        self._next_probe_s = time.monotonic() + PROBE_PAUSE_S

    def _ended(self, code: int) -> None:
        self._child = None
        if self._renewing_until_s is not None:  # we asked for it
            self._renewing_until_s = None
            self._start()
            return
        if self.service.once and code == 0:
            self._was_ready = True
            self._enter(State.DONE)
            return
        calm = self.state is State.READY and self._seconds_in_state() >= CALM_S
        self._failures = 1 if calm else self._failures + 1
        self._enter(State.PAUSED)

    def _pause_s(self) -> float:
        return min(FIRST_PAUSE_S * 2.0 ** (self._failures - 1), LONGEST_PAUSE_S)

    def _seconds_in_state(self) -> float:
        return time.monotonic() - self._entered_s

    def _enter(self, state: State) -> None:
        self.state = state
        self.since = datetime.now(UTC)
        self._entered_s = time.monotonic()
