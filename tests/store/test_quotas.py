"""What an account may use, and what counts as used."""

from uuid import UUID

import psycopg
import pytest

from constellation_pipelines.domain.errors import Conflict, NotFound, QuotaExceeded
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.outlook import Wait
from constellation_pipelines.store import accounts, queue, quotas, waiting
from constellation_pipelines.store.accounts import Quota
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.tenancy import ALL, ONE, Tenancy, seeing_all
from tests.store.fleet import claim, claimed, host, run
from tests.store.fleet import gpu as device

LEASE = """
insert into constellation.leases
       (fence, gpu_id, worker_id, run_id, account, slot, acquired_at, expires_at, released_at)
select nextval('constellation.fence'), g.id, g.worker_id, %(run)s, %(account)s, %(slot)s,
       {begin}, now(), {end}
  from constellation.gpus g
"""
MONTH = "date_trunc('month', now(), 'UTC')"


@pytest.fixture
def gpu(database: Database) -> UUID:
    worker, gpu = new_id(), new_id()
    database.execute(
        "insert into constellation.workers (id, host, pid) values (%s, 'h', 1)", (worker,)
    )
    database.execute(
        "insert into constellation.gpus"
        " (id, uuid, host, idx, name, total_mem_mb, simulated, worker_id, slots)"
        " values (%s, 'G', 'h', 0, 'CPU', 1, true, %s, 8)",
        (gpu, worker),
    )
    return gpu


def lease(database: Database, account: str, begin: str, end: str, slot: int = 0) -> None:
    args = {"run": new_id(), "account": account, "slot": slot}
    database.execute(LEASE.format(begin=begin, end=end), args)


def make(database: Database, name: str, **quota: float) -> None:
    with database.transaction() as connection:
        accounts.create(connection, name)
        accounts.set_quota(connection, name, Quota(**quota))  # type: ignore[arg-type]


def check(database: Database, account: str, km2: float = 1.0) -> None:
    with database.transaction() as connection:
        quotas.check(connection, account, km2)


def used(database: Database, account: str) -> float:
    with database.transaction() as connection:
        return accounts.find(connection, account).gpu_hours_this_month


def test_an_account_without_a_quota_may_have_any_job(database: Database) -> None:
    make(database, "ann")
    check(database, "ann", 1e9)
    check(database, "nobody", 1e9)


def test_a_job_may_be_as_large_as_the_quota_and_no_larger(database: Database) -> None:
    make(database, "ann", km2_per_job=100)
    check(database, "ann", 100)
    with pytest.raises(QuotaExceeded, match=r"cover 100\.5 km2, and account ann may have 100\.0"):
        check(database, "ann", 100.5)


def test_leases_count_for_as_long_as_they_held_a_slot(database: Database, gpu: UUID) -> None:
    make(database, "ann")
    lease(database, "ann", f"{MONTH}", f"{MONTH} + interval '30 min'")
    lease(database, "ann", f"{MONTH}", f"{MONTH} + interval '1 hour'", slot=1)
    lease(database, "ben", f"{MONTH}", f"{MONTH} + interval '9 hours'", slot=2)
    assert used(database, "ann") == pytest.approx(1.5)


def test_a_lease_that_began_last_month_counts_from_the_first(database: Database, gpu: UUID) -> None:
    make(database, "ann")
    lease(database, "ann", f"{MONTH} - interval '5 days'", f"{MONTH} - interval '4 days'")
    assert used(database, "ann") == 0
    lease(database, "ann", f"{MONTH} - interval '5 days'", f"{MONTH} + interval '6 min'")
    assert used(database, "ann") == pytest.approx(0.1)


def test_a_lease_that_is_held_counts_until_now(database: Database, gpu: UUID) -> None:
    make(database, "ann")
    lease(database, "ann", f"greatest({MONTH}, now() - interval '36 s')", "null")
    assert 0 <= used(database, "ann") < 1


def test_no_job_is_taken_once_the_hours_are_used(database: Database, gpu: UUID) -> None:
    make(database, "ann", gpu_hours_per_month=1)
    lease(database, "ann", f"{MONTH}", f"{MONTH} + interval '59 min'")
    check(database, "ann")
    lease(database, "ann", f"{MONTH}", f"{MONTH} + interval '1 min'", slot=1)
    with pytest.raises(QuotaExceeded, match=r"has used 1\.00 of its 1\.00 GPU-hours") as refused:
        check(database, "ann")
    assert "the next month begins on" in refused.value.message
    with pytest.raises(QuotaExceeded):  # under the account's own eyes too
        check(database.bound(Tenancy("ann")), "ann")


def note(database: Database) -> None:
    with database.transaction() as connection:
        quotas.note_spent(connection)


def spent(database: Database) -> set[str]:
    rows = database.fetch_all(
        "select name from constellation.accounts where gpu_hours_spent_until > now()"
    )
    return {row["name"] for row in rows}


def test_runs_that_wait_start_only_while_their_account_has_hours(database: Database) -> None:
    worker = host(database, device("A", slots=4))
    make(database, "ann", gpu_hours_per_month=1)
    make(database, "ben", gpu_hours_per_month=2)
    first, second = run(database, account="ann"), run(database, account="ann")
    without_device = run(database, account="ann", gpus=0)
    bens, owners = run(database, account="ben"), run(database, account="dagster-ui")
    note(database)
    assert claimed(database, worker) == first
    lease(database, "ann", f"{MONTH}", f"{MONTH} + interval '1 hour'", slot=3)
    note(database)
    assert spent(database) == {"ann"}
    with database.transaction() as connection:
        found = waiting.of_runs(connection, [second, bens])
    assert found[second].code is Wait.GPU_HOURS
    assert "has used up its GPU-hours of this month" in found[second].reason
    assert found[bens].code is Wait.NEXT
    started = {claimed(database, worker) for _ in range(3)}
    assert started == {without_device, bens, owners}
    assert claim(database, worker) is None
    with database.transaction() as connection:  # what runs goes on
        assert queue.beat(connection, worker) is not None

    with database.transaction() as connection:
        accounts.set_quota(connection, "ann", Quota(gpu_hours_per_month=5))
        quotas.note_spent(connection)
    assert claimed(database, worker) == second


def test_a_new_month_and_a_quota_that_is_taken_away_let_runs_start(
    database: Database, gpu: UUID
) -> None:
    make(database, "ann", gpu_hours_per_month=1)
    lease(database, "ann", f"{MONTH}", f"{MONTH} + interval '1 hour'")
    note(database)
    assert spent(database) == {"ann"}
    database.execute(
        "update constellation.accounts set gpu_hours_spent_until = gpu_hours_spent_until"
        " - interval '1 month'"
    )
    assert spent(database) == set()
    note(database)
    assert spent(database) == {"ann"}
    with database.transaction() as connection:
        accounts.set_quota(connection, "ann", Quota())
    note(database)
    assert spent(database) == set()


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_quota_is_a_number_above_0(database: Database, value: float) -> None:
    make(database, "ann")
    for name in ("km2_per_job", "gpu_hours_per_month"):
        with (
            pytest.raises(psycopg.errors.CheckViolation),
            database.transaction() as connection,
        ):
            accounts.set_quota(connection, "ann", Quota(**{name: value}))  # type: ignore[arg-type]


def test_an_account_is_made_once(database: Database) -> None:
    make(database, "ann")
    with pytest.raises(Conflict, match="an account ann already"):
        make(database, "ann")
    with pytest.raises(NotFound), database.transaction() as connection:
        accounts.find(connection, "ben")
    with pytest.raises(NotFound), database.transaction() as connection:
        accounts.set_quota(connection, "ben", Quota())


def test_seeing_all_ends_where_it_says(database: Database) -> None:
    role = "select current_user as me"
    for tenancy in (Tenancy("ann"), Tenancy("ann", True), None):
        bound = database if tenancy is None else database.bound(tenancy)
        with bound.transaction() as connection:
            before = connection.execute(role).fetchone()
            with seeing_all(connection):
                assert connection.execute(role).fetchone() == {"me": ALL}
            assert connection.execute(role).fetchone() == before
            assert before != {"me": ONE} or tenancy is not None
