"""One program of the stack, as it is meant to run and as it runs."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from constellation_pipelines.stack.account import Account


class State(StrEnum):
    """Where a service is in its life."""

    WAITING = "waiting"  # for a service it needs
    STARTING = "starting"
    READY = "ready"
    DONE = "done"  # a step that has ended well
    PAUSED = "paused"  # it ended by itself and is started again after a pause
    STOPPED = "stopped"


@dataclass(frozen=True)
class Service:
    """What to run, and how to tell that it can be used.

    `ready` gets the process's number and answers quickly. `prepare` runs before each start.
    A service with `once` is a step: it is ready when it has ended with 0.
    `stamp` tells what a service loads at its start: it is started again once that has changed.
    `address` is shown to people, so no password stands in it.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[int], bool]
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    prepare: Callable[[], None] | None = None
    account: Account | None = None
    folder: Path | None = None
    once: bool = False
    stamp: Callable[[], str] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 10.0
    start_timeout_s: float = 180.0
