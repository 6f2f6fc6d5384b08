"""What a waiting run is told: why, which place, about when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from constellation_pipelines.domain.fleet import (
    Fleet,
    FleetDevice,
    HeldRun,
    Measured,
    WaitingRun,
)
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.order import in_order
from constellation_pipelines.domain.outlook import Outlook, Wait, outlooks, why
from constellation_pipelines.domain.schedule import starts

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEFT, RIGHT = new_id(), new_id()


def device(worker_id: UUID = LEFT, **more: Any) -> FleetDevice:
    plain = FleetDevice(new_id(), worker_id, "GPU", 1000, 1, healthy=True, ready=True)
    return replace(plain, **more)


def waits(age_s: float = 0, account: str = "ann", **more: Any) -> WaitingRun:
    """A run that waits since `age_s`; it has 10 tiles to do, of a second each."""
    plain = WaitingRun(
        run_id=new_id(),
        account=account,
        priority=0,
        enqueued_at=NOW - timedelta(seconds=age_s),
        gpu_count=1,
        mem_mb=100,
        model_digest="m",
        chip_px=64,
        tiles_left=10,
        not_before=None,
        serial_job_id=None,
        reserved_worker_id=None,
    )
    return replace(plain, **more)


def holds(*devices: FleetDevice, mem_mb: int = 100, **more: Any) -> HeldRun:
    on = {one.id: mem_mb for one in devices}
    return replace(HeldRun(new_id(), "bob", len(devices), "m", 64, 10, None, on), **more)


def fleet(*devices: FleetDevice, **more: Any) -> Fleet:
    second = {("m", "GPU", 64): Measured(None, 1.0)}
    return Fleet(at=NOW, workers=1, devices=devices, **{"measured": second} | more)


def code(found: Fleet, run: WaitingRun) -> Wait:
    return why(replace(found, waiting=(*found.waiting, run)), run)[0]


# ---- why ----


def test_without_a_worker_nothing_starts() -> None:
    assert code(replace(fleet(), workers=0), waits()) is Wait.NO_WORKER


def test_a_fault_makes_a_run_back_off_and_says_until_when() -> None:
    run = waits(not_before=NOW + timedelta(seconds=5))
    assert why(fleet(device()), run) == (
        Wait.BACKING_OFF,
        "it backs off after a fault, until 12:00:05 UTC",
    )
    assert code(fleet(device()), waits(not_before=NOW)) is Wait.NEXT


def test_a_serial_job_runs_one_at_a_time() -> None:
    job_id, one = new_id(), device(slots=4)
    busy = fleet(one, held=(holds(one, serial_job_id=job_id),))
    assert code(busy, waits(serial_job_id=job_id)) is Wait.SERIAL_JOB
    assert code(busy, waits(serial_job_id=new_id())) is Wait.NEXT


def test_limits_count_what_runs() -> None:
    one = device(slots=4)
    busy = fleet(one, held=(holds(one, account="ann"), holds(one)))
    assert code(replace(busy, limit=2), waits()) is Wait.GLOBAL_LIMIT
    assert code(replace(busy, limit=3), waits()) is Wait.NEXT
    limited = replace(busy, account_limit=1)
    assert why(limited, waits()) == (
        Wait.ACCOUNT_LIMIT,
        "account ann has reached its limit of running runs (1)",
    )
    assert code(replace(limited, account_limits={"ann": 2}), waits()) is Wait.NEXT


def test_an_account_without_gpu_hours_waits_for_the_next_month() -> None:
    free = fleet(device(), spent_until={"ann": datetime(2026, 2, 1, tzinfo=UTC)})
    assert why(free, waits()) == (
        Wait.GPU_HOURS,
        "account ann has used up its GPU-hours of this month; the next month begins on 2026-02-01 "
        "(UTC)",
    )
    assert code(free, waits(account="ben")) is Wait.NEXT
    assert code(free, waits(gpu_count=0)) is Wait.NEXT
    anns, bens = waits(10), waits(5, account="ben")
    assert starts(free, [anns, bens]) == {anns.run_id: None, bens.run_id: NOW}


def test_a_run_without_devices_is_held_up_by_limits_only() -> None:
    one = device()
    busy = fleet(one, held=(holds(one),))
    assert code(busy, waits(gpu_count=0)) is Wait.NEXT
    assert code(replace(busy, limit=1), waits(gpu_count=0)) is Wait.GLOBAL_LIMIT


def test_quarantined_devices_are_named_where_they_are_what_is_missing() -> None:
    ill = device(healthy=False)
    assert code(fleet(ill), waits()) is Wait.QUARANTINED
    assert code(fleet(ill, device()), waits(gpu_count=2)) is Wait.QUARANTINED
    assert code(fleet(ill, device()), waits()) is Wait.NEXT


def test_devices_of_different_hosts_do_not_add_up() -> None:
    assert why(fleet(device(LEFT), device(RIGHT)), waits(gpu_count=2)) == (
        Wait.TOO_MANY_DEVICES,
        "it asks for 2 devices of one host; the largest host has 1",
    )


def test_more_memory_than_any_device_has() -> None:
    assert why(fleet(device()), waits(mem_mb=1500)) == (
        Wait.TOO_MUCH_MEMORY,
        "it needs 1,500 MB on a device; the largest device has 1,000 MB",
    )


def test_engines_that_start() -> None:
    assert code(fleet(device(ready=False)), waits()) is Wait.ENGINES_STARTING


@pytest.mark.parametrize(
    ("devices", "sentence"), [(1, "the only device is busy"), (3, "all 3 devices are busy")]
)
def test_busy_devices(devices: int, sentence: str) -> None:
    all_of = [device() for _ in range(devices)]
    busy = fleet(*all_of, held=tuple(holds(one) for one in all_of))
    assert why(busy, waits()) == (Wait.DEVICES_BUSY, sentence)


def test_a_run_of_two_devices_waits_for_both() -> None:
    free, taken = device(), device()
    assert why(fleet(free, taken, held=(holds(taken),)), waits(gpu_count=2)) == (
        Wait.DEVICES_BUSY,
        "it needs 2 devices of one host at once; 1 of 2 are free",
    )


def test_memory_that_others_hold() -> None:
    one = device(slots=2)
    busy = fleet(one, held=(holds(one, mem_mb=700),))
    assert why(busy, waits(mem_mb=500)) == (
        Wait.MEMORY_TAKEN,
        "it needs 500 MB on a device; at most 300 MB are free on one",
    )
    assert code(busy, waits(mem_mb=300)) is Wait.NEXT


def test_measured_memory_counts_with_its_margin() -> None:
    one = device(slots=2)
    measured = {("m", "GPU", 64): Measured(300, None)}
    busy = fleet(one, held=(holds(one, mem_mb=671),), measured=measured)
    assert code(busy, waits(mem_mb=1)) is Wait.MEMORY_TAKEN
    assert busy.need_mb(waits(), one) == 330
    assert fleet(one, measured={}).need_mb(waits(mem_mb=None), one) == 1000


def test_devices_that_are_kept_for_a_larger_run() -> None:
    free, taken = device(), device()
    wide = waits(60, gpu_count=2, reserved_worker_id=LEFT)
    busy = fleet(free, taken, held=(holds(taken),), waiting=(wide,))
    assert code(busy, waits(1)) is Wait.DEVICES_KEPT
    assert code(busy, waits(1, priority=1)) is Wait.NEXT
    assert code(busy, waits(90)) is Wait.NEXT
    assert why(busy, wide)[0] is Wait.DEVICES_BUSY


# ---- place ----


def test_priority_then_fair_share_then_age() -> None:
    one = device(slots=9)
    ann = [waits(50 - n, "ann") for n in range(3)]
    bob = [waits(20 - n, "bob") for n in range(2)]
    urgent = waits(0, "bob", priority=1)
    found = fleet(one, waiting=(urgent, *ann, *bob))
    # Bob's urgent run takes a device first, so ann is one behind until she has one too.
    assert in_order(found) == [urgent, ann[0], ann[1], bob[0], ann[2], bob[1]]


def test_what_an_account_holds_counts() -> None:
    one = device(slots=9)
    ann, bob = waits(9, "ann"), waits(1, "bob")
    assert in_order(fleet(one, waiting=(ann, bob))) == [ann, bob]
    held = (holds(one, account="ann"),)
    assert in_order(fleet(one, waiting=(ann, bob), held=held)) == [bob, ann]


def test_a_run_that_devices_are_kept_for_goes_first_in_its_priority() -> None:
    wide = waits(1, reserved_worker_id=LEFT)
    older, urgent = waits(9), waits(0, priority=1)
    assert in_order(fleet(device(), waiting=(urgent, older, wide))) == [urgent, wide, older]


# ---- about when ----


def seconds(found: Fleet) -> list[float | None]:
    """Starts of the waiting runs, in the order in which they are given."""
    begin = starts(found, in_order(found))
    return [
        None if (at := begin[run.run_id]) is None else (at - NOW).total_seconds()
        for run in found.waiting
    ]


def test_runs_start_when_those_before_them_end() -> None:
    one = device()
    queue = tuple(waits(9 - n) for n in range(3))
    assert seconds(fleet(one, waiting=queue)) == [0, 10, 20]
    assert seconds(fleet(one, waiting=queue, held=(holds(one, tiles_left=4),))) == [4, 14, 24]


def test_runs_that_share_a_device_share_its_speed() -> None:
    one = device(slots=2)
    held = (holds(one, tiles_left=3), holds(one, tiles_left=6))
    assert seconds(fleet(one, waiting=(waits(),), held=held)) == [6]


def test_memory_is_waited_for() -> None:
    one = device(slots=3)
    held = (holds(one, mem_mb=500, tiles_left=2), holds(one, mem_mb=400, tiles_left=5))
    assert seconds(fleet(one, waiting=(waits(mem_mb=900),), held=held)) == [10]


def test_two_devices_are_there_when_the_later_one_is_free() -> None:
    first, second = device(), device()
    held = (holds(first, tiles_left=3), holds(second, tiles_left=7))
    wide, small = waits(9, gpu_count=2), waits(1)
    assert seconds(fleet(first, second, waiting=(wide, small), held=held)) == [7, 12]


def test_limits_are_waited_for() -> None:
    one = device(slots=9)
    held = (holds(one, tiles_left=8),)
    queue = (waits(), waits(1))
    assert seconds(fleet(one, waiting=queue, held=held, limit=1)) == [18, 8]
    serial = tuple(replace(run, serial_job_id=LEFT) for run in queue)
    assert seconds(fleet(one, waiting=serial)) == [10, 0]
    mine = (holds(one, account="ann", tiles_left=8),)
    assert seconds(fleet(one, waiting=(waits(),), held=mine, account_limit=1)) == [8]


def test_a_backing_off_run_starts_no_sooner_than_it_may() -> None:
    run = waits(not_before=NOW + timedelta(seconds=5))
    assert seconds(fleet(device(), waiting=(run,))) == [5]


def test_what_is_not_known_is_not_guessed() -> None:
    one = device()
    unknown = fleet(one, waiting=(waits(9), waits(1)), measured={})
    assert seconds(unknown) == [0, None]
    assert seconds(fleet(one, waiting=(waits(gpu_count=2),))) == [None]
    assert seconds(fleet(one, waiting=(waits(mem_mb=5000),))) == [None]


def test_an_outlook_has_all_of_it() -> None:
    one = device()
    first, second = waits(9), waits(1)
    found = outlooks(fleet(one, waiting=(first, second), held=(holds(one),)), {second.run_id})
    assert found == {
        second.run_id: Outlook(
            Wait.DEVICES_BUSY, "the only device is busy", 2, NOW + timedelta(seconds=20)
        )
    }
