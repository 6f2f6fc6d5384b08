"""What starts next, and where: slots, memory, limits, order, and devices kept for large runs."""

from random import Random
from uuid import UUID

import psycopg
import pytest

from constellation_pipelines.store import queue, workers
from constellation_pipelines.store.claims import RESERVE_AFTER_S
from constellation_pipelines.store.database import Database
from tests.store.fleet import (
    beat,
    claim,
    claimed,
    finish,
    gpu,
    host,
    job,
    limit,
    model,
    pass_time,
    profile,
    run,
    run_of,
)


def leases(database: Database) -> list[tuple[str, int, int]]:
    """Device, slot and memory of the live leases."""
    rows = database.fetch_all(
        "select g.uuid, l.slot, l.mem_mb from constellation.leases l "
        "join constellation.gpus g on g.id = l.gpu_id where l.released_at is null order by 1, 2"
    )
    return [(row["uuid"], row["slot"], row["mem_mb"]) for row in rows]


def reserved_for(database: Database, run_id: UUID) -> UUID | None:
    row = database.fetch_one(
        "select reserved_worker_id from constellation.run_queue where run_id = %s", (run_id,)
    )
    assert row is not None
    found = row["reserved_worker_id"]
    assert found is None or isinstance(found, UUID)
    return found


# ---- slots ----


def test_a_device_takes_as_many_runs_as_it_has_slots(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=2))
    runs = [run(database) for _ in range(3)]
    assert [claimed(database, worker_id), claimed(database, worker_id)] == runs[:2]
    assert claim(database, worker_id) is None
    assert [slot for _, slot, _ in leases(database)] == [0, 1]


def test_the_lowest_free_slot_is_taken(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=3))
    for _ in range(4):
        run(database)
    first, _, _ = (claimed(database, worker_id) for _ in range(3))
    finish(database, first)
    claimed(database, worker_id)
    assert [slot for _, slot, _ in leases(database)] == [0, 1, 2]


def test_runs_spread_over_devices_before_they_share_one(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=2), gpu("B", 1, slots=2))
    for _ in range(3):
        run(database)
        claimed(database, worker_id)
    assert leases(database) == [("A", 0, 1), ("A", 1, 1), ("B", 0, 1)]


def test_of_idle_devices_the_smallest_that_fits_is_taken(database: Database) -> None:
    worker_id = host(database, gpu("BIG", mem_mb=9000), gpu("SMALL", 1, mem_mb=1000))
    run(database, mem_mb=500)
    claimed(database, worker_id)
    assert leases(database) == [("SMALL", 0, 500)]


# ---- memory ----


def test_runs_share_a_device_only_while_their_memory_fits(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=4, mem_mb=1000))
    run(database, mem_mb=600)
    too_large = run(database, mem_mb=500)
    small = run(database, mem_mb=400)
    claimed(database, worker_id)
    assert claimed(database, worker_id) == small
    assert claim(database, worker_id) is None
    finish(database, small)
    assert claim(database, worker_id) is None, f"{too_large} does not fit beside 600 MB"


def test_a_run_of_unknown_memory_has_a_device_to_itself(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=4, mem_mb=1000))
    run(database, mem_mb=None)
    run(database, mem_mb=1)
    claimed(database, worker_id)
    assert claim(database, worker_id) is None
    assert leases(database) == [("A", 0, 1000)]


def test_measured_memory_counts_with_a_margin_and_before_stated_memory(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=4, mem_mb=1000))
    profile(database, "digest", 300)
    run(database, mem_mb=900, model_id=model(database, "digest"))
    claimed(database, worker_id)
    assert leases(database) == [("A", 0, 330)]


def test_memory_measured_on_another_kind_of_device_is_not_used(database: Database) -> None:
    worker_id = host(database, gpu("A", mem_mb=1000))
    profile(database, "digest", 300, kind="Another GPU")
    run(database, mem_mb=700, model_id=model(database, "digest"))
    claimed(database, worker_id)
    assert leases(database) == [("A", 0, 700)]


def test_a_model_that_once_filled_the_device_still_fits_despite_the_margin(
    database: Database,
) -> None:
    worker_id = host(database, gpu("A", mem_mb=1000))
    profile(database, "digest", 990)
    run(database, model_id=model(database, "digest"))
    claimed(database, worker_id)
    assert leases(database) == [("A", 0, 1000)]


def test_a_run_that_states_more_than_a_device_has_waits_for_a_larger_one(
    database: Database,
) -> None:
    small = host(database, gpu("A", mem_mb=1000), name="small")
    large = host(database, gpu("B", mem_mb=3000), name="large")
    run_id = run(database, mem_mb=2000)
    assert claim(database, small) is None
    assert claimed(database, large) == run_id


# ---- devices ----


def test_a_quarantined_device_is_not_leased(database: Database) -> None:
    worker_id = host(database, gpu("A"), gpu("B", 1))
    database.execute("update constellation.gpus set health = 'quarantined' where uuid = 'A'")
    run(database)
    run(database)
    claimed(database, worker_id)
    assert claim(database, worker_id) is None
    assert [uuid for uuid, _, _ in leases(database)] == ["B"]


def test_a_device_whose_engine_is_not_ready_is_not_leased(database: Database) -> None:
    worker_id = host(database, gpu("A"), ready=False)
    run_id = run(database)
    assert claim(database, worker_id) is None
    with database.transaction() as connection:
        workers.set_ready(connection, worker_id, "A", True)
    assert claimed(database, worker_id) == run_id


def test_several_devices_come_from_one_host_in_order_of_index(database: Database) -> None:
    left = host(database, gpu("A"), name="left")
    right = host(database, gpu("B", 1), gpu("C", 0), name="right")
    run(database, gpus=2)
    assert claim(database, left) is None
    found = claim(database, right)
    assert found is not None
    assert found.devices == ("C", "B")


# ---- order ----


def test_accounts_take_turns_by_the_devices_they_hold(database: Database) -> None:
    worker_id = host(database, *(gpu(f"G{n}", n) for n in range(5)))
    wide = run(database, account="ann", gpus=2)
    later = run(database, account="ann")
    of_bob = [run(database, account="bob") for _ in range(3)]
    order = [claimed(database, worker_id) for _ in range(4)]
    assert order == [wide, of_bob[0], of_bob[1], later]


def test_a_priority_that_is_raised_counts_for_the_next_claim(database: Database) -> None:
    worker_id = host(database, gpu("A"))
    run(database)
    job_id = job(database)
    urgent = run_of(database, job_id)
    database.execute("update constellation.run_queue set priority = 1 where job_id = %s", (job_id,))
    assert claimed(database, worker_id) == urgent


def test_a_run_has_the_priority_its_job_has_when_it_is_queued(database: Database) -> None:
    worker_id = host(database, gpu("A"))
    run(database)
    urgent = run(database, priority=1)
    assert claimed(database, worker_id) == urgent


def test_a_run_that_backs_off_is_left_alone_until_its_time(database: Database) -> None:
    worker_id = host(database, gpu("A"))
    run_id = run(database)
    found = claim(database, worker_id)
    assert found is not None
    with database.transaction() as connection:
        queue.requeue(connection, found.lease, resume=True, delay_s=30)
    assert claim(database, worker_id) is None
    pass_time(database, 31)
    assert claimed(database, worker_id) == run_id


# ---- serial jobs and limits ----


def test_a_serial_job_runs_one_at_a_time_in_order(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=4))
    serial = job(database, mode="serial")
    first, second = run_of(database, serial), run_of(database, serial)
    another = run(database, mode="serial")
    assert [claimed(database, worker_id), claimed(database, worker_id)] == [first, another]
    assert claim(database, worker_id) is None
    finish(database, first)
    assert claimed(database, worker_id) == second


def test_an_account_holds_no_more_runs_than_its_limit(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=9))
    limit(database, account=2)
    of_ann = [run(database, account="ann") for _ in range(3)]
    of_bob = run(database, account="bob")
    assert {claimed(database, worker_id) for _ in range(3)} == {*of_ann[:2], of_bob}
    assert claim(database, worker_id) is None
    finish(database, of_ann[0])
    assert claimed(database, worker_id) == of_ann[2]


def test_an_account_may_have_a_limit_of_its_own(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=9))
    limit(database, account=1)
    database.execute(
        "insert into constellation.accounts (id, name, max_running_runs) "
        "values (gen_random_uuid(), 'ann', 3)"
    )
    runs = [run(database, account="ann") for _ in range(4)]
    assert [claimed(database, worker_id) for _ in range(3)] == runs[:3]
    assert claim(database, worker_id) is None


def test_the_fleet_holds_no_more_runs_than_its_limit(database: Database) -> None:
    left = host(database, gpu("A", slots=4), name="left")
    right = host(database, gpu("B", slots=4), name="right")
    limit(database, fleet=2)
    for account in ("ann", "bob", "cid"):
        run(database, account=account)
    claimed(database, left)
    held = claimed(database, right)
    assert (claim(database, left), claim(database, right)) == (None, None)
    finish(database, held)
    claimed(database, left)


def test_runs_without_devices_count_under_limits(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=4))
    limit(database, fleet=2)
    run(database, gpus=0)
    run(database, gpus=0)
    run(database, gpus=0)
    claimed(database, worker_id)
    claimed(database, worker_id)
    assert claim(database, worker_id) is None
    assert leases(database) == []


def test_a_limit_that_is_lowered_holds_as_runs_end(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=9))
    limit(database, account=3)
    runs = [run(database) for _ in range(5)]
    for _ in range(3):
        claimed(database, worker_id)
    limit(database, account=2)
    finish(database, runs[0])
    assert claim(database, worker_id) is None, "two still run"
    finish(database, runs[1])
    assert claimed(database, worker_id) == runs[3]
    assert claim(database, worker_id) is None


def test_runs_that_began_without_a_limit_count_under_a_new_one(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=9))
    run(database)
    run(database)
    claimed(database, worker_id)
    limit(database, fleet=1)
    assert claim(database, worker_id) is None


# ---- devices kept for a run that would wait for ever ----


def small_runs_come(database: Database, worker_id: UUID) -> UUID:
    """One more small run; the worker claims what it can, and that is returned."""
    run(database)
    return claimed(database, worker_id)


def test_small_runs_pass_a_large_one_only_for_a_while(database: Database) -> None:
    worker_id = host(database, gpu("A"), gpu("B", 1))
    first, second = small_runs_come(database, worker_id), small_runs_come(database, worker_id)
    wide = run(database, gpus=2)
    finish(database, first)
    third = small_runs_come(database, worker_id)  # there was room for it, none for the large one
    pass_time(database, RESERVE_AFTER_S + 1)
    beat(database, worker_id)
    late = run(database)
    finish(database, second)
    assert claim(database, worker_id) is None, "the free device is kept"
    assert reserved_for(database, wide) == worker_id
    finish(database, third)
    assert claimed(database, worker_id) == wide
    finish(database, wide)
    assert claimed(database, worker_id) == late


def test_what_is_left_beside_the_kept_devices_is_used(database: Database) -> None:
    worker_id = host(database, *(gpu(f"G{n}", n, slots=2) for n in range(3)))
    held = [small_runs_come(database, worker_id) for _ in range(6)]
    wide = run(database, gpus=2, mem_mb=1000)
    pass_time(database, RESERVE_AFTER_S + 1)
    small = [run(database), run(database)]
    finish(database, held[0])
    finish(database, held[1])
    assert claim(database, worker_id) is None, "the two devices nearest to free are kept"
    finish(database, held[2])
    assert claimed(database, worker_id) == small[0]
    assert claim(database, worker_id) is None
    finish(database, held[3])
    finish(database, held[4])
    assert claimed(database, worker_id) == wide


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stream_of_small_runs_never_starves_a_large_one(database: Database, seed: int) -> None:
    """Whichever run ends next, and though another one always waits to take its place."""
    chance = Random(seed)
    worker_id = host(database, *(gpu(f"G{n}", n, slots=2) for n in range(4)))
    held = [small_runs_come(database, worker_id) for _ in range(8)]
    wide = run(database, gpus=3, mem_mb=1000)
    pass_time(database, RESERVE_AFTER_S + 1)
    passed = 0
    while wide not in held:
        held.remove(ended := chance.choice(held))
        finish(database, ended)
        run(database)
        while (found := claim(database, worker_id)) is not None:
            held.append(found.lease.run_id)
        passed += 1
        assert passed < 200, "it is passed for ever"
    assert passed >= 6, "three devices had six runs to end"


def test_more_urgent_and_older_runs_still_pass(database: Database) -> None:
    worker_id = host(database, gpu("A"), gpu("B", 1))
    held = [small_runs_come(database, worker_id) for _ in range(2)]
    older = run(database, account="bob")
    wide = run(database, gpus=2)
    pass_time(database, RESERVE_AFTER_S + 1)
    run(database)
    urgent = run(database, priority=1)
    finish(database, held[0])
    assert claimed(database, worker_id) == urgent
    finish(database, urgent)
    assert claimed(database, worker_id) == older
    finish(database, older)
    assert claim(database, worker_id) is None
    finish(database, held[1])
    assert claimed(database, worker_id) == wide


def test_a_run_that_needs_a_whole_device_is_not_passed_for_ever_either(database: Database) -> None:
    worker_id = host(database, gpu("A", slots=2))
    held = [small_runs_come(database, worker_id) for _ in range(2)]
    large = run(database, mem_mb=1000)
    pass_time(database, RESERVE_AFTER_S + 1)
    run(database)
    finish(database, held[0])
    assert claim(database, worker_id) is None
    finish(database, held[1])
    assert claimed(database, worker_id) == large


def test_a_run_that_no_device_of_the_host_could_ever_hold_keeps_none(database: Database) -> None:
    worker_id = host(database, gpu("A"))
    run(database, gpus=2)
    run(database, mem_mb=5000)
    pass_time(database, RESERVE_AFTER_S + 1)
    small = run(database)
    assert claimed(database, worker_id) == small


def test_only_one_host_keeps_devices_for_a_run(database: Database) -> None:
    hosts = [host(database, gpu(f"{n}A"), gpu(f"{n}B", 1), name=n) for n in ("left", "right")]
    for worker_id in hosts * 2:
        small_runs_come(database, worker_id)
    held = {
        name: [
            row["run_id"]
            for row in database.fetch_all(
                "select run_id from constellation.run_queue where worker_id = %s", (worker_id,)
            )
        ]
        for name, worker_id in zip(("left", "right"), hosts, strict=True)
    }
    left, right = hosts
    wide = run(database, gpus=2)
    pass_time(database, RESERVE_AFTER_S + 1)
    beat(database, left)
    beat(database, right)
    small = run(database)
    finish(database, held["left"][0])
    assert claim(database, left) is None
    finish(database, held["right"][0])
    assert claimed(database, right) == small
    assert reserved_for(database, wide) == left


def test_devices_kept_on_a_host_that_died_are_kept_on_another(database: Database) -> None:
    left = host(database, gpu("LA"), gpu("LB", 1), name="left")
    right = host(database, gpu("RA"), gpu("RB", 1), name="right")
    held = [small_runs_come(database, worker_id) for worker_id in (left, left, right, right)]
    wide = run(database, gpus=2)
    pass_time(database, RESERVE_AFTER_S + 1)
    beat(database, left)
    run(database)
    finish(database, held[0])
    assert claim(database, left) is None
    pass_time(database, queue.LEASE_TTL_S + 1)
    beat(database, right)
    finish(database, held[2])
    assert claim(database, right) is None
    assert reserved_for(database, wide) == right


def test_a_run_in_one_slot_waits_its_fair_turn_however_long_it_has_waited(
    database: Database,
) -> None:
    worker_id = host(database, gpu("A"), gpu("B", 1))
    run(database, account="ann")
    run(database, account="ann")
    first, _ = claimed(database, worker_id), claimed(database, worker_id)
    run(database, account="ann")
    pass_time(database, 10 * RESERVE_AFTER_S)
    of_bob = run(database, account="bob")
    assert claim(database, worker_id) is None
    finish(database, first)
    assert claimed(database, worker_id) == of_bob


# ---- what the database itself refuses ----


@pytest.mark.parametrize("mem_mb", [501, 1000])
def test_leases_beyond_the_memory_of_a_device_are_refused(database: Database, mem_mb: int) -> None:
    worker_id = host(database, gpu("A", slots=2, mem_mb=1000))
    run(database, mem_mb=500)
    run(database, mem_mb=500)
    claimed(database, worker_id)
    # As a claimant would that had not seen the first lease.
    with pytest.raises(psycopg.errors.ExclusionViolation, match="its leases take"):
        database.execute(
            "insert into constellation.leases "
            "(fence, gpu_id, worker_id, run_id, slot, mem_mb, expires_at) "
            "select nextval('constellation.fence'), id, worker_id, gen_random_uuid(), 1, %s, now() "
            "from constellation.gpus",
            (mem_mb,),
        )
