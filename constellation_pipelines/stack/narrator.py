"""Tells a person how the stack comes up: one line for each thing that happened."""

from collections.abc import Callable
from datetime import UTC, datetime

from constellation_pipelines.stack.service import State
from constellation_pipelines.stack.status import ServiceStatus, StackStatus

TOLD = {State.READY: "ready", State.DONE: "done", State.PAUSED: "ended"}


class Narrator:
    """Hears every status and says what is new in it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._states: dict[str, State] = {}
        self._was_ready = False

    def hear(self, stack: StackStatus) -> None:
        """Say which services changed, and where everything is once all are ready."""
        for service in stack.services:
            if service.state is not self._states.get(service.name) and service.state in TOLD:
                self._say(self._line(stack, service))
            self._states[service.name] = service.state
        if stack.ready and not self._was_ready:
            self._say(ready_text(stack))
        if self._was_ready and not stack.ready:
            self._say("stopping")
        self._was_ready = stack.ready

    def _line(self, stack: StackStatus, service: ServiceStatus) -> str:
        after_s = (datetime.now(UTC) - stack.started_at).total_seconds()
        text = service.address
        if service.state is State.PAUSED:
            text = f"by itself and is started again; its log is {service.log}"
        word = TOLD[service.state]
        return f"  {service.name:<18} {word:<6} {after_s:6.1f} s  {text}".rstrip()


def ready_text(stack: StackStatus) -> str:
    """Where a person finds things."""
    lines = [
        "ready",
        f"  dashboard  {stack.urls['dashboard']}",
        f"  API        {stack.urls['api']}/api/v1",
        f"  Dagster    {stack.urls['dagster']}",
    ]
    if stack.simulated:
        lines.append("  devices    simulated: no GPU is used, models run on the CPU")
    return "\n".join(lines)


def status_table(stack: StackStatus, now: datetime) -> str:
    """A line for each service, and where their logs are."""
    heads = ("SERVICE", "STATE", "PID", "SINCE", "RESTARTS", "ADDRESS")
    rows = [heads, *(_row(service, now) for service in stack.services)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    folders = sorted({str(service.log.parent) for service in stack.services})
    return "\n".join([*lines, *(f"logs: {folder}/<service>.log" for folder in folders)])


def _row(service: ServiceStatus, now: datetime) -> tuple[str, ...]:
    lost = service.state in (State.READY, State.STARTING) and not (
        service.process and service.process.is_alive
    )
    return (
        service.name,
        "gone" if lost else service.state.value,
        str(service.process.pid) if service.process and not lost else "-",
        age(now, service.since),
        str(service.restarts),
        service.address or "-",
    )


def age(now: datetime, then: datetime) -> str:
    """How long ago, in the largest unit that makes sense."""
    seconds = max(0, int((now - then).total_seconds()))
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size_s:
            return f"{seconds // size_s} {unit} ago"
    return f"{seconds} s ago"
