"""Fifty claimants at once, each with a connection of its own."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from constellation_pipelines.store import queue
from constellation_pipelines.store.database import Connection, Database
from tests.store.fleet import claim, gpu, host, limit, run

CLAIMANTS = 50
RUNS = 60
PATIENCE_S = 120.0


class Race:
    """What the claimants hold, as they see it themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self.most: Counter[str] = Counter()  # of each kind, the most that were held at once
        self.done: Counter[UUID] = Counter()
        self.faults: list[BaseException] = []

    @contextmanager
    def holding(self, run_id: UUID, *kinds: str) -> Iterator[None]:
        with self._lock:
            self._held.update(kinds)
            for kind in kinds:
                self.most[kind] = max(self.most[kind], self._held[kind])
        try:
            yield
        finally:
            with self._lock:  # before the lease ends, or the next holder would seem to overlap
                self._held.subtract(kinds)
                self.done[run_id] += 1

    @property
    def over(self) -> bool:
        return bool(self.faults) or self.done.total() >= RUNS


def compete(race: Race, url: str, worker_id: UUID, accounts: dict[UUID, str]) -> None:
    """Claim and finish runs until all are done."""
    try:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            while not race.over:
                work(race, connection, worker_id, accounts)
    except BaseException as fault:
        race.faults.append(fault)


def work(race: Race, connection: Connection, worker_id: UUID, accounts: dict[UUID, str]) -> None:
    with connection.transaction():
        claim = queue.claim(connection, worker_id)
    if claim is None:
        return
    run_id = claim.lease.run_id
    with race.holding(run_id, "fleet", accounts[run_id], *claim.devices):
        with connection.transaction():
            queue.guard(connection, claim.lease)
    with connection.transaction():
        assert queue.finish(connection, claim.lease, 0)


def raced(database: Database, workers: list[UUID], accounts: dict[UUID, str]) -> Race:
    """Let the claimants, spread over the workers, do all runs."""
    race = Race()
    threads = [
        threading.Thread(
            target=compete, args=(race, database.url, workers[n % len(workers)], accounts)
        )
        for n in range(CLAIMANTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads), "the claimants stand still"
    if race.faults:
        raise race.faults[0]
    return race


def test_a_claimant_that_stands_still_stops_the_others_only_for_seconds(
    database: Database,
) -> None:
    still, other = (host(database, gpu(name), name=name) for name in "AB")
    limit(database, fleet=2)
    runs = {run(database), run(database)}
    with psycopg.connect(database.url, row_factory=dict_row) as connection:
        connection.execute("select 1")  # from here on its claim is not committed
        held = queue.claim(connection, still)
        assert held is not None
        assert claim(database, other) is None, "both want the lowest place under the limit"
        deadline = time.monotonic() + PATIENCE_S
        while (found := claim(database, other)) is None:
            assert time.monotonic() < deadline
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            connection.execute("commit")
    assert found.lease.run_id in runs
    last = claim(database, still)
    assert last is not None
    assert {found.lease.run_id, last.lease.run_id} == runs


def test_fifty_claimants_of_one_slot_never_hold_it_twice(database: Database) -> None:
    worker_id = host(database, gpu("A"))
    accounts = {run(database): "ann" for _ in range(RUNS)}
    race = raced(database, [worker_id], accounts)
    assert race.most["A"] == 1
    assert race.done == dict.fromkeys(accounts, 1)


def test_fifty_claimants_on_five_hosts_stay_within_every_limit(database: Database) -> None:
    """Each device has four slots, and memory for two runs."""
    workers = [host(database, gpu(name, slots=4, mem_mb=1000), name=name) for name in "ABCDE"]
    limit(database, fleet=6, account=3)
    names = ("ann", "bob", "cid")
    accounts = {run(database, account=names[n % 3], mem_mb=400): names[n % 3] for n in range(RUNS)}
    race = raced(database, workers, accounts)
    assert race.most["fleet"] <= 6
    assert all(race.most[name] <= 3 for name in names)
    assert all(race.most[name] <= 2 for name in "ABCDE")
    assert race.done == dict.fromkeys(accounts, 1)
