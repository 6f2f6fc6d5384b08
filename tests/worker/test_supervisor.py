"""The supervisor forgets nothing that the database or its zygote told it.

The test stands at the zygote's end of the channel; database and queue are real.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.store import devices, faults, queue
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker import supervisor as module
from constellation_pipelines.worker.engines import Change, ChangeKind, Engines
from constellation_pipelines.worker.orders import Channel, encode
from constellation_pipelines.worker.supervisor import Supervisor
from constellation_pipelines.worker.zygotes import Handle, Zygotes
from tests.conftest import PostgresServer
from tests.store.test_queue import claim, device, run, worker

WAIT_S = 20.0


class NoEngines(Engines):
    """Devices whose engines are ready and stay so; a test may say what befalls them."""

    def befall(self, *changes: Change) -> None:
        self.__dict__.setdefault("said", deque()).extend(changes)

    def tick(self) -> list[Change]:
        said = self.__dict__.get("said", ())
        return [said.popleft()] if said else []


class Desk:
    """A supervisor at work, and the zygote's end of its channel."""

    def __init__(self, database: Database, worker_id: UUID, devices: int = 1) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(WAIT_S)
        self.channel = Channel(ours)
        self._theirs = theirs
        self.engines = NoEngines([device(n) for n in range(devices)], Path("/nowhere"), [])
        zygotes = Zygotes(lambda stamp: Handle(Channel(theirs), lambda: None, stamp), lambda: "")
        self.supervisor = Supervisor(database, worker_id, self.engines, zygotes)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.supervisor.serve, args=(self.stop,))

    def __enter__(self) -> "Desk":
        self.thread.start()
        self.tell(ready=1)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(WAIT_S)
        self.channel.connection.close()
        self._theirs.close()

    def hear(self) -> dict[str, Any]:
        """The next order."""
        (message,) = self.channel.receive()
        return message

    def tell(self, **message: Any) -> None:
        """Say something as the zygote would."""
        self.channel.send(encode(message))


@pytest.fixture
def worker_id(database: Database) -> UUID:
    return worker(database)


@pytest.fixture
def desk(database: Database, worker_id: UUID) -> Iterator[Desk]:
    with Desk(database, worker_id) as open_desk:
        yield open_desk


@contextmanager
def outage(server: PostgresServer, database_url: str) -> Iterator[None]:
    """Nobody can connect to the database, and who was connected is cut off."""
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"alter database {name} with allow_connections false")
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
        )
        yield
        connection.execute(f"alter database {name} with allow_connections true")


def eventually(look: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.05)


def row_of(database: Database, run_id: UUID) -> dict[str, Any]:
    row = database.fetch_one(
        "select state, attempt, exit_code from constellation.run_queue where run_id = %s", (run_id,)
    )
    assert row is not None
    return dict(row)


def test_a_queued_run_is_ordered_with_its_fence_and_engine(database: Database, desk: Desk) -> None:
    run_id = run(database)
    order = desk.hear()["run"]
    assert order["run_id"] == str(run_id)
    assert order["fence"] > 0
    assert order["sockets"] == {"SIM-0": "/nowhere/0.sock"}


def test_a_run_that_dies_is_ordered_again_and_its_device_is_free_in_between(
    database: Database, desk: Desk
) -> None:
    run_id = run(database)
    first = desk.hear()["run"]
    desk.tell(exited=str(run_id), code=-9)
    second = desk.hear()["run"]
    assert (second["run_id"], second["attempt"]) == (str(run_id), 2)
    assert second["fence"] > first["fence"]


def test_a_run_that_ended_well_frees_its_device(database: Database, desk: Desk) -> None:
    run_id = run(database)
    desk.hear()
    database.execute("update constellation.runs set state = 'COMPLETED'")
    desk.tell(exited=str(run_id), code=0)
    expected = {"state": "done", "attempt": 1, "exit_code": 0}
    eventually(lambda: row_of(database, run_id), expected)


def test_an_exit_that_came_while_the_database_was_away_is_not_lost(
    postgres: PostgresServer, database: Database, desk: Desk
) -> None:
    run_id = run(database)
    desk.hear()
    database.execute("update constellation.runs set state = 'COMPLETED'")
    with outage(postgres, database.url):
        desk.tell(exited=str(run_id), code=0)
        time.sleep(1)
    expected = {"state": "done", "attempt": 1, "exit_code": 0}
    eventually(lambda: row_of(database, run_id), expected)


def test_a_claim_that_nobody_knows_of_is_given_back(database: Database, worker_id: UUID) -> None:
    run_id = run(database)
    lost = claim(database, worker_id)
    assert lost is not None
    with Desk(database, worker_id) as desk:
        order = desk.hear()["run"]
    assert (order["run_id"], order["attempt"]) == (str(run_id), 1)
    assert order["fence"] > lost.lease.fence


def test_a_cancelled_run_is_interrupted_and_then_killed(
    database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    run_id = run(database)
    desk.hear()
    with database.transaction() as connection:
        queue.request_interrupt(connection, run_id)
    assert desk.hear() == {"interrupt": str(run_id)}
    assert desk.hear() == {"kill": str(run_id)}
    desk.tell(exited=str(run_id), code=-9)
    eventually(lambda: row_of(database, run_id)["state"], "done")


def test_a_run_whose_lease_passed_on_is_killed_without_a_word(
    database: Database, desk: Desk
) -> None:
    run_id = run(database)
    desk.hear()
    database.execute("update constellation.run_queue set worker_id = null, state = 'queued'")
    database.execute("update constellation.gpus set engine_ready = false")
    assert desk.hear() == {"kill": str(run_id)}


def test_runs_are_given_back_without_spending_an_attempt(
    database: Database, worker_id: UUID
) -> None:
    run_id = run(database)
    with Desk(database, worker_id) as desk:
        desk.hear()
    desk.supervisor.hand_back()
    assert row_of(database, run_id) == {"state": "queued", "attempt": 1, "exit_code": None}


# ---- devices that fail ----

BUS = Change("SIM-0", ChangeKind.QUARANTINED, "Xid 79: off the bus", 79)


def health_of(database: Database) -> dict[str, tuple[str, str | None, bool]]:
    with database.transaction() as connection:
        return {
            one.uuid: (one.health, one.health_reason, one.engine_ready)
            for one in devices.list_all(connection)
        }


def faults_of(database: Database, run_id: UUID) -> list[Fault]:
    with database.transaction() as connection:
        return faults.of_run(connection, run_id)


def faults_on(database: Database, uuid: str) -> list[Fault]:
    with database.transaction() as connection:
        gpu_id = devices.id_of(connection, uuid)
        assert gpu_id is not None
        return faults.of_device(connection, gpu_id, 10)


def test_runs_of_a_bad_device_move_to_another_and_spend_no_attempt(database: Database) -> None:
    worker_id = worker(database, devices=2)
    run_id = run(database)
    with Desk(database, worker_id, devices=2) as desk:
        first = desk.hear()["run"]
        assert list(first["sockets"]) == ["SIM-0"]
        desk.engines.befall(BUS)
        assert desk.hear() == {"kill": str(run_id)}
        desk.tell(exited=str(run_id), code=-9)
        second = desk.hear()["run"]
    assert list(second["sockets"]) == ["SIM-1"]
    assert (second["run_id"], second["attempt"]) == (str(run_id), 1)
    assert second["fence"] > first["fence"]
    assert health_of(database)["SIM-0"] == ("quarantined", "Xid 79: off the bus", False)
    (moved,) = faults_of(database, run_id)
    assert (moved.kind, moved.decision, moved.details) == (
        FaultKind.DEVICE,
        Decision.MOVE,
        {"xid": 79},
    )
    assert faults_on(database, "SIM-0")[-1].decision is Decision.QUARANTINE_DEVICE


def test_a_run_that_meets_one_bad_device_after_the_other_spends_attempts_at_last(
    database: Database, desk: Desk
) -> None:
    run_id = run(database)
    attempts = []
    for _ in range(5):
        attempts.append(desk.hear()["run"]["attempt"])
        desk.engines.befall(BUS)
        assert desk.hear() == {"kill": str(run_id)}
        desk.engines.befall(
            Change("SIM-0", ChangeKind.READMITTED), Change("SIM-0", ChangeKind.READY)
        )
        desk.tell(exited=str(run_id), code=-9)
    assert attempts == [1, 1, 1, 1, 2]


def test_a_device_that_passed_its_probe_is_offered_again(database: Database, desk: Desk) -> None:
    desk.engines.befall(BUS)
    eventually(lambda: health_of(database)["SIM-0"][0], "quarantined")
    run_id = run(database)
    failed = Change("SIM-0", ChangeKind.PROBE_FAILED, "memory did not keep what was written")
    readmitted = Change("SIM-0", ChangeKind.READMITTED, "a fresh engine passed its probe")
    desk.engines.befall(failed, readmitted, Change("SIM-0", ChangeKind.READY))
    assert desk.hear()["run"]["run_id"] == str(run_id)
    assert health_of(database)["SIM-0"] == ("ok", None, True)
    decisions = [fault.decision for fault in reversed(faults_on(database, "SIM-0"))]
    assert decisions == [
        Decision.QUARANTINE_DEVICE,
        Decision.QUARANTINE_DEVICE,
        Decision.READMIT_DEVICE,
    ]


def test_a_runs_own_fault_is_kept_with_it_and_nothing_is_done(
    database: Database, desk: Desk
) -> None:
    run_id = run(database)
    desk.hear()
    desk.engines.befall(Change("SIM-0", ChangeKind.XID, "Xid 31: not its own memory", 31))
    eventually(lambda: len(faults_of(database, run_id)), 1)
    (fault,) = faults_of(database, run_id)
    assert (fault.kind, fault.decision) == (FaultKind.OWN, Decision.NONE)
    assert health_of(database)["SIM-0"] == ("ok", None, True)
    assert row_of(database, run_id)["state"] == "leased"


def test_an_event_of_no_known_meaning_is_kept_with_the_device_only(
    database: Database, desk: Desk
) -> None:
    run_id = run(database)
    desk.hear()
    desk.engines.befall(Change("SIM-0", ChangeKind.XID, "Xid 119: unknown", 119))
    eventually(lambda: len(faults_on(database, "SIM-0")), 1)
    (fault,) = faults_on(database, "SIM-0")
    assert (fault.kind, fault.decision) == (FaultKind.DEVICE, Decision.NONE)
    assert faults_of(database, run_id) == []


def test_what_befell_a_device_while_the_database_was_away_is_not_lost(
    postgres: PostgresServer, database: Database, desk: Desk
) -> None:
    run_id = run(database)
    desk.hear()
    with outage(postgres, database.url):
        desk.engines.befall(BUS)
        time.sleep(1)
    assert desk.hear() == {"kill": str(run_id)}
    assert health_of(database)["SIM-0"][0] == "quarantined"
