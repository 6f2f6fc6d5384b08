"""About when waiting runs start and end: each in its turn where it can begin first.

Times are seconds from the moment of the fleet; `inf` is a time that is not known.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from uuid import UUID

from constellation_pipelines.domain.fleet import Fleet, FleetDevice, HeldRun, WaitingRun

LOOKED_AHEAD = 500  # runs; what comes later is too uncertain to say


@dataclass(slots=True)
class Line:
    """What holds a device, and until when. Nothing new begins before `since`."""

    device: FleetDevice
    holders: list[tuple[float, int]] = field(default_factory=list)  # end, memory
    since: float = 0.0

    def earliest(self, need_mb: int, floor: float) -> float:
        """When a slot and this much memory are free."""
        floor = max(floor, self.since)
        for at in sorted({floor, *(end for end, _ in self.holders if floor < end < inf)}):
            active = [mem_mb for end, mem_mb in self.holders if end > at]
            free_mb = self.device.total_mem_mb - sum(active)
            if len(active) < self.device.slots and need_mb <= free_mb:
                return at
        return inf

    def take(self, at: float, end: float, need_mb: int) -> None:
        """Hold a slot."""
        self.since = at
        self.holders = [one for one in self.holders if one[0] > at] + [(end, need_mb)]

    def sharers(self, at: float) -> int:
        """How many runs hold the device at that time."""
        return sum(end > at for end, _ in self.holders)


@dataclass(slots=True)
class Gate:
    """A limit on runs at once."""

    most: int | None
    ends: list[float] = field(default_factory=list)

    def earliest(self, floor: float) -> float:
        """When one more may begin."""
        active = sorted(end for end in self.ends if end > floor)
        if self.most is None or len(active) < self.most:
            return floor
        return active[len(active) - self.most]


def starts(fleet: Fleet, order: Sequence[WaitingRun]) -> dict[UUID, datetime | None]:
    """When each of the first runs starts, None where that cannot be told."""
    return {run_id: moment(fleet, start) for run_id, (start, _) in placed(fleet, order).items()}


def ends(fleet: Fleet, order: Sequence[WaitingRun]) -> dict[UUID, datetime | None]:
    """When each of the first runs is over, None where that cannot be told."""
    return {run_id: moment(fleet, end) for run_id, (_, end) in placed(fleet, order).items()}


def placed(fleet: Fleet, order: Sequence[WaitingRun]) -> dict[UUID, tuple[float, float]]:
    """Start and end of each of the first runs."""
    plan = Plan(fleet)
    return {run.run_id: plan.place(run) for run in order[:LOOKED_AHEAD]}


def moment(fleet: Fleet, after_s: float) -> datetime | None:
    """So long after the moment of the fleet."""
    return None if after_s == inf else fleet.at + timedelta(seconds=after_s)


class Plan:
    """Devices and limits as the runs placed so far leave them."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._lines: dict[UUID, list[Line]] = defaultdict(list)  # by worker
        self._all = Gate(fleet.limit)
        self._gates: dict[object, Gate] = {}
        lines = {device.id: Line(device) for device in fleet.devices if device.healthy}
        for line in lines.values():
            self._lines[line.device.worker_id].append(line)
        shared = [gpu_id for run in fleet.held for gpu_id in run.devices]
        for run in fleet.held:
            on = [lines[gpu_id] for gpu_id in run.devices if gpu_id in lines]
            sharers = max((shared.count(gpu_id) for gpu_id in run.devices), default=1)
            end = self._takes(run, on) * sharers
            for line in on:
                line.holders.append((end, run.devices[line.device.id]))
            self._enter(run, end)

    def place(self, run: WaitingRun) -> tuple[float, float]:
        """Start and end of a run, whose devices are taken from then on."""
        backing_off_s = (
            0.0 if run.not_before is None else (run.not_before - self._fleet.at).total_seconds()
        )
        floor = max(0.0, backing_off_s)
        for gate in self._gates_of(run):
            floor = gate.earliest(floor)
        if run.staging is not None:
            return inf, inf  # nobody knows how long a host takes
        if run.gpu_count and run.account in self._fleet.spent_until:
            return inf, inf  # nor whether an account is given more hours
        start, chosen = self._choose(run, floor)
        end = inf
        if start < inf:
            sharers = 1 + max((line.sharers(start) for line in chosen), default=0)
            end = start + self._takes(run, chosen) * sharers
            for line in chosen:
                line.take(start, end, self._fleet.need_mb(run, line.device))
            self._enter(run, end)
        return start, end

    def _choose(self, run: WaitingRun, floor: float) -> tuple[float, list[Line]]:
        """The devices of one worker on which the run can begin first, and when."""
        if run.gpu_count == 0:
            return (floor if self._fleet.workers else inf), []
        best: tuple[float, list[Line]] = (inf, [])
        for lines in self._lines.values():
            free = sorted(
                (
                    (line.earliest(need_mb, floor), line.sharers(floor), at, line)
                    for at, line in enumerate(lines)
                    if (need_mb := self._fleet.need_mb(run, line.device))
                    <= line.device.total_mem_mb
                ),
                key=lambda one: one[:3],
            )[: run.gpu_count]
            if len(free) == run.gpu_count and free[-1][0] < best[0]:
                best = free[-1][0], [line for *_, line in free]
        return best

    def _takes(self, run: WaitingRun | HeldRun, on: Sequence[Line]) -> float:
        """Seconds that the rest of a run takes by itself."""
        times_s = [self._fleet.seen(run, line.device).tile_s for line in on]
        known_s = [time_s for time_s in times_s if time_s is not None]
        if not known_s or len(known_s) < len(times_s):
            return inf if run.tiles_left or run.gpu_count == 0 else 0.0
        return run.tiles_left * max(known_s) / len(known_s)

    def _gates_of(self, run: WaitingRun | HeldRun) -> list[Gate]:
        """The limits that a run counts under."""
        account = self._gates.setdefault(
            ("account", run.account), Gate(self._fleet.limit_of(run.account))
        )
        if run.serial_job_id is None:
            return [self._all, account]
        return [self._all, account, self._gates.setdefault(run.serial_job_id, Gate(1))]

    def _enter(self, run: WaitingRun | HeldRun, end: float) -> None:
        for gate in self._gates_of(run):
            gate.ends.append(end)
