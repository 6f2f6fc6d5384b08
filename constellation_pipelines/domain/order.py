"""The order in which waiting runs would start, were there room for one after the other."""

import heapq
from collections import Counter, defaultdict, deque

from constellation_pipelines.domain.fleet import Fleet, WaitingRun


def in_order(fleet: Fleet) -> list[WaitingRun]:
    """Priority first; then whoever devices are kept for; then the account with the fewest devices,
    counting those that its runs before took; then age."""
    devices = Counter[str]()
    for one in fleet.held:
        devices[one.account] += one.gpu_count
    levels: dict[int, list[WaitingRun]] = defaultdict(list)
    for run in fleet.waiting:
        levels[run.priority].append(run)
    order: list[WaitingRun] = []
    for priority in sorted(levels, reverse=True):
        order += in_turns(levels[priority], devices)
    return order


def in_turns(runs: list[WaitingRun], devices: Counter[str]) -> list[WaitingRun]:
    """Runs of one priority. `devices` is what each account holds, and grows as runs are taken."""
    lines: dict[str, deque[WaitingRun]] = defaultdict(deque)
    order = [run for run in runs if run.reserved_worker_id is not None]
    for run in order:
        devices[run.account] += run.gpu_count
    for run in sorted(runs, key=age):
        if run.reserved_worker_id is None:
            lines[run.account].append(run)
    heads = [(devices[account], age(line[0]), account) for account, line in lines.items()]
    heapq.heapify(heads)
    while heads:
        _, _, account = heapq.heappop(heads)
        run = lines[account].popleft()
        order.append(run)
        devices[account] += run.gpu_count
        if lines[account]:
            heapq.heappush(heads, (devices[account], age(lines[account][0]), account))
    return order


def age(run: WaitingRun) -> tuple[float, str]:
    """Oldest first, in the same order every time."""
    return run.enqueued_at.timestamp(), str(run.run_id)
