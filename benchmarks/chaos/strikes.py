"""One kill: whom it hits, when the system has noticed, when the work goes on."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.chaos.observer import Observer
from benchmarks.chaos.victims import Hold, family, holds, holds_by_device
from constellation_pipelines.stack.process import ProcessId
from constellation_pipelines.stack.runner import CALM_S
from constellation_pipelines.stack.service import State

# Kind -> the service that has to be ready before, and whose restarts count against it.
SERVICE_OF = {
    "run process": "worker",
    "engine": "worker",
    "zygote": "worker",
    "worker": "worker",
    "dispatcher": "dispatcher",
    "api": "api",
    "postgres": "postgres",
    "nats": "nats",
    "dagster-code": "dagster-code",
    "dagster-webserver": "dagster-webserver",
    "dagster-daemon": "dagster-daemon",
}
KINDS = tuple(SERVICE_OF)
# These do not make `up` start a service again, so they need no rest in between.
WITHOUT_RESTART = ("run process", "engine")

HELD = "select 1 from constellation.run_queue where run_id = %s and state = 'leased' and fence = %s"
ENDED = """
select 1 from constellation.runs
 where id = any(%s) and state in ('COMPLETED', 'FAILED', 'CANCELLED')
"""
TILE_SINCE = "select 1 from constellation.tiles where run_id = any(%s) and created_at > %s limit 1"
ANY_TILE_SINCE = "select 1 from constellation.tiles where created_at > %s limit 1"
PUBLISHED_SINCE = "select 1 from constellation.events where published_at > %s limit 1"
DEVICE = "select engine_ready, worker_id from constellation.gpus where uuid = %s"
WORKERS = "select distinct worker_id from constellation.gpus where worker_id is not null"


@dataclass(frozen=True, slots=True)
class Strike:
    """A process to kill. `running_since` is asked with the moment at which it was noticed.

    Both raise Away while the database cannot be asked.
    """

    kind: str
    what: str
    victim: ProcessId
    noticed: Callable[[], bool]
    running_since: Callable[[datetime], bool]


def aim(observer: Observer, kind: str, chance: random.Random) -> Strike | None:
    """A strike of this kind, or None while there is nobody to hit. Raises Away."""
    if kind == "run process":
        return at_run_process(observer, chance)
    if kind == "engine":
        return at_engine(observer, chance)
    if kind in ("zygote", "worker"):
        return at_worker(observer, kind)
    return at_service(observer, kind)


def at_run_process(observer: Observer, chance: random.Random) -> Strike | None:
    """The process of a run that has committed tiles and has more to do."""
    processes = {process.pid: process for process in family(observer.stack().stack_id).runs}
    found = [hold for hold in holds(observer) if hold.pid in processes]
    if not found:
        return None
    hold = chance.choice(found)
    return Strike(
        "run process",
        f"run {hold.run_id}",
        processes[hold.pid],
        noticed=lambda: lost(observer, hold),
        running_since=lambda at: goes_on(observer, [hold], at),
    )


def at_engine(observer: Observer, chance: random.Random) -> Strike | None:
    """The engine of a device that a run works on."""
    engines = family(observer.stack().stack_id).engines
    working = {uuid: held for uuid, held in holds_by_device(observer).items() if uuid in engines}
    if not working:
        return None
    uuid = chance.choice(sorted(working))
    before = observer.rows(DEVICE, uuid)

    def noticed() -> bool:
        (now,) = observer.rows(DEVICE, uuid)
        return not now["engine_ready"] or [now] != before

    def running_since(at: datetime) -> bool:
        (now,) = observer.rows(DEVICE, uuid)
        return bool(now["engine_ready"]) and goes_on(observer, working[uuid], at)

    what = f"engine of {uuid}, which ran {', '.join(str(hold.run_id) for hold in working[uuid])}"
    return Strike("engine", what, engines[uuid], noticed, running_since)


def at_worker(observer: Observer, kind: str) -> Strike | None:
    """The worker, or its zygote: what it ran is lost, or passes to its successor."""
    working = holds(observer)
    worker = observer.service("worker").process
    zygotes = family(observer.stack().stack_id).zygotes
    victim = worker if kind == "worker" else next(iter(zygotes), None)
    if victim is None or not working or not observer.is_ready("worker"):
        return None
    workers = observer.rows(WORKERS)

    def noticed() -> bool:
        # A successor that adopts the runs keeps their leases: that it is there is the notice then.
        return observer.rows(WORKERS) != workers or any(lost(observer, hold) for hold in working)

    what = f"{kind} {victim.pid}, which ran {', '.join(str(hold.run_id) for hold in working)}"
    return Strike(kind, what, victim, noticed, lambda at: goes_on(observer, working, at))


def at_service(observer: Observer, kind: str) -> Strike | None:
    """A service of the stack; `up` starts it again."""
    victim = observer.service(kind).process
    if victim is None or not observer.is_ready(kind) or not holds(observer):
        return None

    def noticed() -> bool:  # by `up`, as it writes down
        now = observer.service(kind)
        return now.process != victim or now.state is not State.READY

    def running_since(at: datetime) -> bool:
        is_another = observer.service(kind).process != victim
        return is_another and observer.is_ready(kind) and serves(observer, kind, at)

    return Strike(kind, f"{kind} {victim.pid}", victim, noticed, running_since)


def serves(observer: Observer, kind: str, at: datetime) -> bool:
    """Whether what the service is for has happened since."""
    if kind == "api":
        return observer.api_answers()
    if kind == "postgres":
        return bool(observer.rows(ANY_TILE_SINCE, at))
    if kind in ("nats", "dispatcher"):
        return bool(observer.rows(PUBLISHED_SINCE, at))
    return True


def lost(observer: Observer, hold: Hold) -> bool:
    """Whether the run is no longer held as it was."""
    return not observer.rows(HELD, hold.run_id, hold.fence)


def goes_on(observer: Observer, affected: Sequence[Hold], at: datetime) -> bool:
    """Whether each affected run has committed a tile since, or has ended."""
    for hold in affected:
        run: list[Any] = [[hold.run_id]]
        if not observer.rows(TILE_SINCE, *run, at) and not observer.rows(ENDED, *run):
            return False
    return True


def rest_s(observer: Observer, kind: str, now: datetime) -> float:
    """Seconds until `up` would start the kind's service again as soon as the first time.

    Raises Away.
    """
    if kind in WITHOUT_RESTART:
        return 0.0
    service = observer.service(SERVICE_OF[kind])
    return max(0.0, CALM_S - (now - service.since).total_seconds())
