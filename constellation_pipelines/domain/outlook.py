"""Why a run waits, its place in the queue, and about when it starts."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from constellation_pipelines.domain.fleet import Fleet, FleetDevice, Staging, WaitingRun
from constellation_pipelines.domain.order import in_order
from constellation_pipelines.domain.schedule import starts


class Wait(StrEnum):
    """What a run waits for. Stable; programs may compare it."""

    PENDING = "pending"
    FAR_BACK = "far_back"
    BACKING_OFF = "backing_off"
    STAGING = "staging"
    SERIAL_JOB = "serial_job"
    GLOBAL_LIMIT = "global_limit"
    ACCOUNT_LIMIT = "account_limit"
    GPU_HOURS = "gpu_hours"
    NO_WORKER = "no_worker"
    QUARANTINED = "quarantined"
    TOO_MANY_DEVICES = "too_many_devices"
    TOO_MUCH_MEMORY = "too_much_memory"
    ENGINES_STARTING = "engines_starting"
    DEVICES_BUSY = "devices_busy"
    MEMORY_TAKEN = "memory_taken"
    DEVICES_KEPT = "devices_kept"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Outlook:
    """`place` is 1 for the run that is to start first. None where a thing is not known."""

    code: Wait
    reason: str
    place: int | None = None
    estimated_start_at: datetime | None = None


def outlooks(fleet: Fleet, wanted: Collection[UUID]) -> dict[UUID, Outlook]:
    """The outlooks of those of the wanted runs that wait in the queue."""
    order = in_order(fleet)
    begin = starts(fleet, order)
    return {
        run.run_id: Outlook(*why(fleet, run), place, begin.get(run.run_id))
        for place, run in enumerate(order, start=1)
        if run.run_id in wanted
    }


def why(fleet: Fleet, run: WaitingRun) -> tuple[Wait, str]:
    """The first thing that keeps a run from starting, and a sentence on it."""
    return held_up(fleet, run) or unplaceable(fleet, run) or crowded_out(fleet, run)


def held_up(fleet: Fleet, run: WaitingRun) -> tuple[Wait, str] | None:
    """What holds a run up however many devices are free."""
    if run.not_before is not None and run.not_before > fleet.at:
        until = run.not_before.strftime("%H:%M:%S")
        return Wait.BACKING_OFF, f"it backs off after a fault, until {until} UTC"
    if run.serial_job_id and any(one.serial_job_id == run.serial_job_id for one in fleet.held):
        return Wait.SERIAL_JOB, "its job runs one run at a time, and another one is running"
    if run.gpu_count and (spent := fleet.spent_until.get(run.account)) is not None:
        month = spent.astimezone(UTC).strftime("%Y-%m-%d")
        return (
            Wait.GPU_HOURS,
            f"account {run.account} has used up its GPU-hours of this month; the next month begins "
            f"on {month} (UTC)",
        )
    if fleet.limit is not None and len(fleet.held) >= fleet.limit:
        return Wait.GLOBAL_LIMIT, f"the limit of running runs is reached ({fleet.limit})"
    most = fleet.limit_of(run.account)
    running = sum(one.account == run.account for one in fleet.held)
    if most is not None and running >= most:
        return (
            Wait.ACCOUNT_LIMIT,
            f"account {run.account} has reached its limit of running runs ({most})",
        )
    if not fleet.workers:
        return Wait.NO_WORKER, "no worker is running: `constellation status` tells what is up"
    if run.staging is not None:
        return Wait.STAGING, staging_in_words(run.staging, fleet.at)
    return None


def staging_in_words(staging: Staging, at: datetime) -> str:
    """How far the first pixels are, or why they do not come."""
    if staging.note is not None and staging.again_at is not None and staging.again_at > at:
        again = staging.again_at.astimezone(UTC).strftime("%H:%M:%S")
        return f"{staging.note}; tried again at {again} UTC"
    if staging.wanted_bytes == 0:
        return f"its first pixels will be fetched from {staging.host}"
    done_mb, wanted_mb = staging.done_bytes / 1e6, staging.wanted_bytes / 1e6
    return f"its pixels are being fetched from {staging.host}: {done_mb:.1f} of {wanted_mb:.1f} MB"


def unplaceable(fleet: Fleet, run: WaitingRun) -> tuple[Wait, str] | None:
    """What would hold a run up even if it were alone."""
    if run.gpu_count == 0:
        return None
    count, healthy = run.gpu_count, [device for device in fleet.devices if device.healthy]
    if largest_host(fleet.devices) >= count > largest_host(healthy):
        what = "all devices are" if not healthy else "too many devices are"
        return Wait.QUARANTINED, f"{what} quarantined: `constellation gpus` tells why"
    if count > largest_host(healthy):
        has = f"the largest host has {largest_host(healthy)}"
        return Wait.TOO_MANY_DEVICES, f"it asks for {count} devices of one host; {has}"
    roomy = [device for device in healthy if fleet.need_mb(run, device) <= device.total_mem_mb]
    if count > largest_host(roomy):
        need_mb = min(fleet.need_mb(run, device) for device in healthy)
        has_mb = max(device.total_mem_mb for device in healthy)
        what = "a device" if count == 1 else f"each of {count} devices of one host"
        return (
            Wait.TOO_MUCH_MEMORY,
            f"it needs {need_mb:,} MB on {what}; the largest device has {has_mb:,} MB",
        )
    if count > largest_host(device for device in roomy if device.ready):
        return Wait.ENGINES_STARTING, "the engines of the devices that could take it are starting"
    return None


def crowded_out(fleet: Fleet, run: WaitingRun) -> tuple[Wait, str]:
    """What others hold that it needs; nothing for a run whose turn has come."""
    usable = [
        device
        for device in fleet.devices
        if device.healthy and device.ready and fleet.need_mb(run, device) <= device.total_mem_mb
    ]
    runs = Counter(gpu_id for one in fleet.held for gpu_id in one.devices)
    taken_mb = Counter[UUID]()
    for one in fleet.held:
        taken_mb.update(one.devices)
    with_slot = [device for device in usable if runs[device.id] < device.slots]
    if run.gpu_count > largest_host(with_slot):
        return Wait.DEVICES_BUSY, busy(run.gpu_count, len(usable), len(with_slot))
    free_mb = {device.id: device.total_mem_mb - taken_mb[device.id] for device in with_slot}
    fitting = [one for one in with_slot if fleet.need_mb(run, one) <= free_mb[one.id]]
    if run.gpu_count > largest_host(fitting):
        need_mb = min(fleet.need_mb(run, device) for device in with_slot)
        most_mb = max(free_mb.values())
        return (
            Wait.MEMORY_TAKEN,
            f"it needs {need_mb:,} MB on a device; at most {most_mb:,} MB are free on one",
        )
    if run.gpu_count and kept_from(fleet, run, fitting):
        return Wait.DEVICES_KEPT, "devices are kept free for a larger run that waits longer"
    return Wait.NEXT, "there is room for it: a worker takes it as soon as its turn comes"


def busy(count: int, usable: int, free: int) -> str:
    """A sentence on devices whose slots are taken."""
    if count == 1:
        return "the only device is busy" if usable == 1 else f"all {usable} devices are busy"
    return f"it needs {count} devices of one host at once; {free} of {usable} are free"


def kept_from(fleet: Fleet, run: WaitingRun, fitting: Iterable[FleetDevice]) -> bool:
    """Whether every host that has room for a run keeps it for one that goes before."""
    keepers = {
        one.reserved_worker_id
        for one in fleet.waiting
        if one.run_id != run.run_id
        and one.reserved_worker_id is not None
        and (-one.priority, one.enqueued_at) < (-run.priority, run.enqueued_at)
    }
    beside = [device for device in fitting if device.worker_id not in keepers]
    return bool(keepers) and run.gpu_count > largest_host(beside)


def largest_host(devices: Iterable[FleetDevice]) -> int:
    """How many of these devices one worker offers at most."""
    return max(Counter(device.worker_id for device in devices).values(), default=0)
