"""Which process to kill: only ones that are proven to be of this stack."""

from dataclasses import dataclass
from uuid import UUID

import psutil

from benchmarks.chaos.observer import Observer
from constellation_pipelines.stack.process import ProcessId, marked

ZYGOTE = "constellation_pipelines.worker.zygote"
ENGINE = "constellation_pipelines.inference.engine"

# Runs that are well under way and have something left to do.
WORKING = """
select q.run_id, q.fence, q.pid, q.worker_id
  from constellation.run_queue q join constellation.runs r on r.id = q.run_id
 where q.state = 'leased' and q.pid is not null and not q.cancel_requested and r.state = 'RUNNING'
   and r.tiles_completed > 0
   and r.tiles_completed + r.tiles_failed + r.tiles_skipped < r.tiles_planned
 order by q.run_id
"""

LEASED_DEVICES = """
select l.run_id, g.uuid from constellation.leases l join constellation.gpus g on g.id = l.gpu_id
 where l.released_at is null
"""


@dataclass(frozen=True, slots=True)
class Hold:
    """A run that works, under this fencing number, in this process."""

    run_id: UUID
    fence: int
    pid: int


@dataclass(frozen=True, slots=True)
class Family:
    """The processes below a stack's workers."""

    zygotes: tuple[ProcessId, ...]
    runs: tuple[ProcessId, ...]
    engines: dict[str, ProcessId]  # by device uuid


def holds(observer: Observer) -> list[Hold]:
    """Runs that work right now. Raises Away."""
    return [Hold(r["run_id"], r["fence"], r["pid"]) for r in observer.rows(WORKING)]


def holds_by_device(observer: Observer) -> dict[str, list[Hold]]:
    """Runs that work right now, by the device they hold. Raises Away."""
    working = {hold.run_id: hold for hold in holds(observer)}
    found: dict[str, list[Hold]] = {}
    for row in observer.rows(LEASED_DEVICES):
        if row["run_id"] in working:
            found.setdefault(row["uuid"], []).append(working[row["run_id"]])
    return found


def family(stack_id: str) -> Family:
    """Zygotes, run processes and engines that carry the stack's mark in their environment."""
    zygotes: list[ProcessId] = []
    runs: list[ProcessId] = []
    engines: dict[str, ProcessId] = {}
    for process in marked(stack_id):
        command, above = command_of(process.pid), parent_command(process.pid)
        if ZYGOTE in command:  # a run is a fork of the zygote and has its command line
            (runs if ZYGOTE in above else zygotes).append(process)
        elif ENGINE in command and ENGINE not in above and "--device" in command:
            engines[command[command.index("--device") + 1]] = process
    return Family(tuple(zygotes), tuple(runs), engines)


def command_of(pid: int) -> list[str]:
    """A process's command line; empty where it has gone."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def parent_command(pid: int) -> list[str]:
    """The command line of a process's parent."""
    try:
        return command_of(psutil.Process(pid).ppid())
    except psutil.Error:
        return []
