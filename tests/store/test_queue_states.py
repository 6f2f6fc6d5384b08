"""The queue under any order of events: what must always hold, and that nothing is ever lost."""

from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from constellation_pipelines.domain.errors import LeaseLost
from constellation_pipelines.store import queue, reaper, workers
from constellation_pipelines.store.database import Database
from tests.store.fleet import beat, claim, gpu, host, job, limit, pass_time, run, run_of

HOSTS = {
    "left": (gpu("A", 0, slots=2), gpu("B", 1, slots=1)),
    "right": (gpu("C", 0, slots=3, mem_mb=2000), gpu("D", 1, slots=2)),
}
ACCOUNTS = ("ann", "bob")

FORGET = """
truncate constellation.jobs, constellation.runs, constellation.run_queue, constellation.leases,
         constellation.gpus, constellation.workers cascade
"""

SLOTS = """
select g.uuid, count(*) as runs, count(distinct l.slot) as slots, max(l.slot) as highest,
       sum(l.mem_mb) as mem_mb, g.slots as has_slots, g.total_mem_mb as has_mb
  from constellation.leases l join constellation.gpus g on g.id = l.gpu_id
 where l.released_at is null group by g.id
"""

HELD = """
select q.run_id, q.fence, q.account, q.serial_job_id, q.gpu_count,
       (select count(*) from constellation.leases l
         where l.fence = q.fence and l.released_at is null) as devices,
       (select count(distinct g.host) from constellation.leases l
          join constellation.gpus g on g.id = l.gpu_id
         where l.fence = q.fence and l.released_at is null) as hosts
  from constellation.run_queue q where q.state = 'leased'
"""

ORPHANS = """
select l.fence from constellation.leases l
 where l.released_at is null
   and not exists (select 1 from constellation.run_queue q
                    where q.fence = l.fence and q.state = 'leased')
"""

ROW = """
select state, fence, worker_id, attempt, exit_code from constellation.run_queue where run_id = %s
"""

HELD_BY = """
select run_id from constellation.run_queue where worker_id = %s and state = 'leased'
"""

pick = st.integers(0, 1000)


@dataclass(frozen=True)
class Limits:
    fleet: int | None
    account: int | None


class Queue(RuleBasedStateMachine):
    """Enqueues, claims, beats, dies, comes back late; keeps its own books beside the database's."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        database.execute(FORGET)
        self.workers = {
            name: host(database, *devices, name=name) for name, devices in HOSTS.items()
        }
        self.runs: set[UUID] = set()
        self.done: set[UUID] = set()
        self.held: dict[UUID, queue.Lease] = {}
        self.stale: list[queue.Lease] = []
        self.fences: set[int] = set()

    @initialize(fleet=st.sampled_from((None, 1, 3)), account=st.sampled_from((None, 1, 2)))
    def begin(self, fleet: int | None, account: int | None) -> None:
        self.limits = Limits(fleet, account)
        limit(self.database, fleet=fleet, account=account)
        self.serial = {name: job(self.database, account=name, mode="serial") for name in ACCOUNTS}

    # ---- what happens ----

    @rule(
        account=st.sampled_from(ACCOUNTS),
        gpus=st.sampled_from((0, 1, 1, 1, 2)),
        mem_mb=st.sampled_from((None, 300, 600, 1000)),
        priority=st.integers(0, 2),
        serial=st.booleans(),
    )
    def enqueue(
        self, account: str, gpus: int, mem_mb: int | None, priority: int, serial: bool
    ) -> None:
        if serial:
            added = run_of(self.database, self.serial[account], gpus=gpus, mem_mb=mem_mb)
        else:
            added = run(self.database, account=account, priority=priority, gpus=gpus, mem_mb=mem_mb)
        self.runs.add(added)

    @rule(name=st.sampled_from(tuple(HOSTS)))
    def claim(self, name: str) -> None:
        self._claim(name)

    def _claim(self, name: str) -> bool:
        found = claim(self.database, self.workers[name])
        if found is None:
            return False
        lease = found.lease
        assert lease.run_id not in self.held, "it is held already"
        assert lease.run_id not in self.done, "it was over"
        assert lease.fence not in self.fences
        self.fences.add(lease.fence)
        self.held[lease.run_id] = lease
        return True

    @rule(name=st.sampled_from(tuple(HOSTS)))
    def heartbeat(self, name: str) -> None:
        beat(self.database, self.workers[name])

    @rule(seconds=st.sampled_from((1, 11, 20)))
    def time_passes(self, seconds: int) -> None:
        pass_time(self.database, seconds)

    @precondition(lambda self: self.held)
    @rule(n=pick)
    def finish(self, n: int) -> None:
        lease = self._some(n)
        with self.database.transaction() as connection:
            assert queue.finish(connection, lease, 0)
        self._over(lease)

    @precondition(lambda self: self.held)
    @rule(n=pick, delay_s=st.sampled_from((0, 30)), spend=st.booleans())
    def process_dies(self, n: int, delay_s: int, spend: bool) -> None:
        self._again(self._some(n), delay_s=delay_s, spend=spend)

    @precondition(lambda self: self.held)
    @rule(n=pick)
    def cancelled_while_it_runs(self, n: int) -> None:
        lease = self._some(n)
        with self.database.transaction() as connection:
            assert queue.request_interrupt(connection, lease.run_id)
        self._again(lease, delay_s=0, spend=True)
        assert lease.run_id in self.done

    @precondition(lambda self: self.runs - self.done - self.held.keys())
    @rule(n=pick)
    def cancelled_while_it_waits(self, n: int) -> None:
        waiting = sorted(self.runs - self.done - self.held.keys())
        chosen = waiting[n % len(waiting)]
        with self.database.transaction() as connection:
            assert queue.withdraw(connection, chosen)
        self.done.add(chosen)

    @rule(name=st.sampled_from(tuple(HOSTS)))
    def worker_is_replaced(self, name: str) -> None:
        """The old one is gone for good; its runs stay held until they are reaped."""
        self.workers[name] = host(self.database, *HOSTS[name], name=name)

    @rule()
    def reap(self) -> None:
        """As the dispatcher does with workers of other hosts: silence is the proof."""
        with self.database.transaction() as connection:
            silent = [w for w in workers.unended(connection) if w.holds_runs and w.is_silent]
        for worker in silent:
            before = self.database.fetch_all(HELD_BY, (worker.id,))
            proof = reaper.Proof(worker.id, worker.host, "it has been silent")
            assert reaper.take_over(self.database, proof) == len(before)
            for row in before:
                self._passed_on(row["run_id"])

    @precondition(lambda self: self.stale)
    @rule(n=pick)
    def a_stale_holder_writes(self, n: int) -> None:
        lease = self.stale[n % len(self.stale)]
        before = self.database.fetch_one(ROW, (lease.run_id,))
        with pytest.raises(LeaseLost), self.database.transaction() as connection:
            queue.guard(connection, lease)
        with self.database.transaction() as connection:
            assert not queue.finish(connection, lease, 7)
            assert queue.requeue(connection, lease, resume=True) is None
            queue.started(connection, lease, 7)
        assert self.database.fetch_one(ROW, (lease.run_id,)) == before

    # ---- what always holds ----

    @invariant()
    def no_slot_is_held_twice_and_no_memory_promised_twice(self) -> None:
        for row in self.database.fetch_all(SLOTS):
            assert row["runs"] == row["slots"], row
            assert row["highest"] < row["has_slots"], row
            assert row["mem_mb"] <= row["has_mb"], row

    @invariant()
    def what_is_held_is_what_was_claimed(self) -> None:
        rows = self.database.fetch_all(HELD)
        assert {row["run_id"]: row["fence"] for row in rows} == {
            run_id: lease.fence for run_id, lease in self.held.items()
        }
        for row in rows:
            assert row["devices"] == row["gpu_count"], row
            assert row["hosts"] <= 1, row
        assert self.database.fetch_all(ORPHANS) == []
        serial = [row["serial_job_id"] for row in rows if row["serial_job_id"]]
        assert len(serial) == len(set(serial)), "two runs of a serial job"
        if not hasattr(self, "limits"):
            return
        accounts = [row["account"] for row in rows]
        assert self.limits.fleet is None or len(rows) <= self.limits.fleet
        for name in ACCOUNTS:
            assert self.limits.account is None or accounts.count(name) <= self.limits.account

    def teardown(self) -> None:
        """Whatever happened, everything comes to its end."""
        for _ in range(3 * len(self.runs) + 3):
            pass_time(self.database, 31)
            for worker_id in self.workers.values():
                beat(self.database, worker_id)
            self.reap()
            for name in HOSTS:
                while self._claim(name):
                    pass
            self.no_slot_is_held_twice_and_no_memory_promised_twice()
            self.what_is_held_is_what_was_claimed()
            for lease in list(self.held.values()):
                with self.database.transaction() as connection:
                    assert queue.finish(connection, lease, 0)
                self._over(lease)
            if self.done == self.runs:
                break
        assert self.done == self.runs, "runs that never came to their turn"
        row = self.database.fetch_one(
            "select count(*) as n from constellation.run_queue where state = 'done'"
        )
        assert row == {"n": len(self.runs)}

    # ---- books ----

    def _some(self, n: int) -> queue.Lease:
        held = sorted(self.held.values(), key=lambda lease: lease.fence)
        return held[n % len(held)]

    def _passed_on(self, run_id: UUID) -> None:
        """A run that the reaper took from a dead worker waits again, or has lost too many."""
        lease = self.held[run_id]
        row = self.database.fetch_one(ROW, (run_id,))
        assert row is not None
        assert row["state"] in ("queued", "done")
        if row["state"] == "done":
            self._over(lease)
        else:
            del self.held[run_id]
            self.stale.append(lease)

    def _again(self, lease: queue.Lease, *, delay_s: int, spend: bool) -> None:
        """Queue a run again whose process is gone, or end it where no attempt is left."""
        with self.database.transaction() as connection:
            attempt = queue.requeue(
                connection, lease, resume=True, spend_attempt=spend, delay_s=delay_s
            )
            if attempt is None:
                assert queue.finish(connection, lease, -9)
        if attempt is None:
            self._over(lease)
        else:
            self.stale.append(self.held.pop(lease.run_id))

    def _over(self, lease: queue.Lease) -> None:
        self.stale.append(self.held.pop(lease.run_id))
        self.done.add(lease.run_id)


def test_no_order_of_events_breaks_the_queue(database: Database) -> None:
    """An example takes half a second, most of it in the database."""
    few = settings(
        max_examples=25,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    # Its type hint is narrower than what it takes: anything that makes a machine.
    run_state_machine_as_test(lambda: Queue(database), settings=few)  # type: ignore[arg-type]
