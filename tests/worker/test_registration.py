"""One worker per host: the next one enters once the one before it is proven dead."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from constellation_pipelines.domain.errors import Conflict
from constellation_pipelines.store import faults, workers
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker import registration
from constellation_pipelines.worker.identity import Identity, boot_id, identity_of
from constellation_pipelines.worker.orphans import MARK, marked
from constellation_pipelines.worker.registration import enter
from tests.store.test_queue import claimed, device, live_leases, run, silence

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
DEVICES = [device(0)]


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that stands for another worker."""
    child = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def worker_of(database: Database, identity: Identity | None, host: str = "host") -> UUID:
    """A worker that entered as this process, with a ready device."""
    with database.transaction() as connection:
        worker_id = workers.register(
            connection,
            host=host,
            pid=identity.pid if identity else 1,
            boot_id=identity.boot_id if identity else None,
            started_ticks=identity.started_ticks if identity else None,
            devices=DEVICES,
        )
        workers.set_ready(connection, worker_id, DEVICES[0].uuid, True)
    return worker_id


def identity_in_life(process: "subprocess.Popen[bytes]") -> Identity:
    found = identity_of(process.pid)
    assert found is not None
    return found


def test_a_worker_enters_as_the_process_it_is(database: Database) -> None:
    worker_id = enter(database, "host", DEVICES)
    with database.transaction() as connection:
        (record,) = workers.of_host(connection, "host")
    assert record.id == worker_id
    assert identity_of(os.getpid()) == Identity(
        record.boot_id or "", record.pid, record.started_ticks or 0
    )


def test_a_second_worker_on_a_host_is_refused_with_one_line(
    database: Database, process: "subprocess.Popen[bytes]"
) -> None:
    first = worker_of(database, identity_in_life(process))
    silence(database, first)  # silence is no proof where the process can be seen
    with pytest.raises(Conflict, match=f"worker {process.pid} serves this host already"):
        enter(database, "host", DEVICES)
    offered = database.fetch_one("select worker_id from constellation.gpus")
    assert offered == {"worker_id": first}


def test_a_dead_worker_is_buried_by_the_next_one(
    database: Database, process: "subprocess.Popen[bytes]"
) -> None:
    dead = worker_of(database, identity_in_life(process))
    run_id = run(database)
    held = claimed(database, dead)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # not reaped: a zombie is dead enough
    worker_id = enter(database, "host", DEVICES)
    assert live_leases(database) == 0
    with database.transaction() as connection:
        workers.set_ready(connection, worker_id, DEVICES[0].uuid, True)
        (fault,) = faults.of_run(connection, run_id)
    again = claimed(database, worker_id)
    assert (again.lease.run_id, again.resume, again.attempt) == (run_id, True, held.attempt)
    assert (fault.kind, fault.decision, fault.worker_id) == ("worker", "resume", dead)
    assert f"process {process.pid} has ended" in fault.message


def test_a_number_that_was_given_out_again_is_not_taken_for_the_worker(
    database: Database, process: "subprocess.Popen[bytes]"
) -> None:
    living = identity_in_life(process)
    worker_of(database, Identity(living.boot_id, living.pid, living.started_ticks - 1))
    enter(database, "host", DEVICES)
    assert process.poll() is None


def test_after_a_reboot_the_silence_of_the_old_worker_is_the_proof(
    database: Database, process: "subprocess.Popen[bytes]"
) -> None:
    living = identity_in_life(process)
    dead = worker_of(database, Identity("another boot", living.pid, living.started_ticks))
    silence(database, dead)
    enter(database, "host", DEVICES)
    assert process.poll() is None


def test_another_machine_of_the_same_name_is_not_pushed_aside(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "WORKER_ALIVE_S", -2)
    worker_of(database, Identity("another boot", 1, 1))
    with pytest.raises(Conflict, match="CONSTELLATION_HOST_NAME"):
        enter(database, "host", DEVICES)


def test_of_two_workers_that_start_at_once_one_enters(database: Database) -> None:
    outcomes: list[str] = []

    def start() -> None:
        try:
            enter(database, "host", DEVICES)
            outcomes.append("entered")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["entered"] + ["refused"] * 7


def test_what_a_dead_worker_left_running_is_ended(
    database: Database, process: "subprocess.Popen[bytes]"
) -> None:
    dead = worker_of(database, identity_in_life(process))
    left = subprocess.Popen(SLEEP, env={**os.environ, MARK: str(dead)}, stdout=subprocess.PIPE)
    try:
        assert left.stdout is not None
        left.stdout.readline()
        assert [found.pid for found in marked(dead)] == [left.pid]
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        enter(database, "host", DEVICES)
        assert left.wait(60) == -9
    finally:
        left.kill()
        left.wait()
        left.communicate()


def test_a_worker_of_another_host_is_let_be(database: Database) -> None:
    other = worker_of(database, Identity(boot_id(), os.getpid(), 1), host="elsewhere")
    enter(database, "host", [device(1)])
    with database.transaction() as connection:
        assert [record.id for record in workers.of_host(connection, "elsewhere")] == [other]


def test_a_stranger_is_not_killed(process: "subprocess.Popen[bytes]") -> None:
    living = identity_in_life(process)
    assert not Identity(living.boot_id, living.pid, living.started_ticks + 1).kill()
    assert not Identity("another boot", living.pid, living.started_ticks).kill()
    assert process.poll() is None
    assert not living.is_dead
    assert living.kill()
    assert living.is_dead
