"""Webhooks against a real receiver: told once, signed, tried again, never led elsewhere."""

import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from constellation_pipelines.dispatcher import webhooks as module
from constellation_pipelines.dispatcher.webhooks import Sender, sending
from constellation_pipelines.domain.webhook import Delivery, Webhook, new_secret
from constellation_pipelines.store import events, webhooks
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.vault import Vault
from tests.imagery.listener import listen
from tests.local_server import Quiet, local_server
from tests.store.fleet import job

HERE = frozenset({"127.0.0.1"})
VAULT = Vault(Path("/nowhere/secret_key"))  # opens what lies open


@dataclass
class Receiver:
    """What was posted, and what is answered."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)  # the next answers; then 204
    got: list[tuple[dict[str, str], str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            state.got.append((dict(self.headers), body))
            status = state.statuses.pop(0) if state.statuses else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"http://127.0.0.1:{state.port}/elsewhere")
            self.end_headers()

    with local_server(Handler) as port:
        state.port = port
        yield state


def hook(
    database: Database, url: str, *types: str, account: str = "ann", secret: str | None = None
) -> Webhook:
    with database.transaction() as connection:
        return webhooks.add(connection, account, url, types or None, secret or new_secret())


def tell(database: Database, type: str, *, account: str = "ann") -> UUID:
    job_id = job(database, account=account)
    with database.transaction() as connection:
        events.emit(connection, type, job_id, None, {"state": "COMPLETED"})
    return job_id


def deliveries(database: Database, of: Webhook) -> list[Delivery]:
    with database.transaction() as connection:
        return webhooks.deliveries(connection, of.id, limit=100)


def make_due(database: Database) -> None:
    database.execute(
        "update constellation.webhook_deliveries set due_at = now(), sending_until = null"
    )


# ---- what is told ----


def test_a_change_of_a_job_is_posted_once_and_signed(
    database: Database, receiver: Receiver
) -> None:
    secret = new_secret()
    mine = hook(database, receiver.url, secret=secret)
    job_id = tell(database, "job.completed")
    sender = Sender(database, HERE, VAULT)
    assert sender.send_next()
    assert not sender.send_next()
    ((headers, body),) = receiver.got
    told = json.loads(body)
    assert (told["type"], told["job_id"], told["account"]) == ("job.completed", str(job_id), "ann")
    assert told["payload"] == {"state": "COMPLETED"}
    at, sign = headers["Constellation-Signature"].split(",")
    digest = hmac.new(secret.encode(), f"{at[2:]}.{body}".encode(), hashlib.sha256).hexdigest()
    assert sign == f"v1={digest}"
    assert abs(int(at[2:]) - time.time()) < 600
    (one,) = deliveries(database, mine)
    assert (one.attempts, one.status, one.error) == (1, 204, None)
    assert one.delivered_at is not None


def test_a_sealed_secret_signs_and_one_of_another_key_is_told_to_its_owner(
    database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    secret, vault = new_secret(), Vault(tmp_path / "secret_key")
    mine = hook(database, receiver.url, secret=vault.sealed(secret))
    tell(database, "job.completed")
    assert Sender(database, HERE, vault).send_next()
    ((headers, body),) = receiver.got
    at, sign = headers["Constellation-Signature"].split(",")
    digest = hmac.new(secret.encode(), f"{at[2:]}.{body}".encode(), hashlib.sha256).hexdigest()
    assert sign == f"v1={digest}"

    (tmp_path / "secret_key").unlink()
    vault.sealed("of another key")
    tell(database, "job.failed")
    assert Sender(database, HERE, vault).send_next()
    newest, _ = deliveries(database, mine)
    assert newest.error is not None
    assert "sealed with another key" in newest.error
    assert len(receiver.got) == 1


def test_each_webhook_is_told_what_it_asked_for_of_its_own_account(
    database: Database, receiver: Receiver
) -> None:
    all_of_ann = hook(database, receiver.url)
    ends_of_ann = hook(database, receiver.url, "job.failed", "job.completed")
    of_ben = hook(database, receiver.url, account="ben")
    tell(database, "job.started")
    tell(database, "job.failed")
    types = {
        one.id: [each.event_type for each in deliveries(database, one)]
        for one in (all_of_ann, ends_of_ann, of_ben)
    }
    assert types[all_of_ann.id] == ["job.failed", "job.started"]
    assert types[ends_of_ann.id] == ["job.failed"]
    assert types[of_ben.id] == []


def test_only_events_of_jobs_are_told_and_only_those_that_are_committed(
    database: Database, receiver: Receiver
) -> None:
    mine = hook(database, receiver.url)
    tell(database, "run.started")
    tell(database, "tile.completed")
    job_id = job(database)
    with database.transaction() as connection:
        events.emit(connection, "job.completed", job_id, None, {})
        connection.rollback()
    assert deliveries(database, mine) == []


# ---- what fails ----


def test_a_failed_attempt_is_made_again_later(database: Database, receiver: Receiver) -> None:
    mine = hook(database, receiver.url)
    tell(database, "job.completed")
    receiver.statuses = [500]
    sender = Sender(database, HERE, VAULT)
    assert sender.send_next()
    assert not sender.send_next(), "the next attempt is not due yet"
    (one,) = deliveries(database, mine)
    assert (one.attempts, one.status, one.delivered_at) == (1, 500, None)
    assert one.error == "it answered 500"
    make_due(database)
    assert sender.send_next()
    (one,) = deliveries(database, mine)
    assert (one.attempts, one.status, one.error) == (2, 204, None)
    assert receiver.got[0][1] == receiver.got[1][1], "the same body"


def test_after_a_day_it_is_given_up(database: Database, receiver: Receiver) -> None:
    mine = hook(database, receiver.url)
    tell(database, "job.completed")
    database.execute(
        "update constellation.webhook_deliveries set created_at = now() - interval '1 day'"
    )
    receiver.statuses = [503]
    sender = Sender(database, HERE, VAULT)
    assert sender.send_next()
    make_due(database)
    assert not sender.send_next()
    (one,) = deliveries(database, mine)
    assert one.gave_up_at is not None
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(database: Database, receiver: Receiver, status: int) -> None:
    mine = hook(database, receiver.url)
    tell(database, "job.completed")
    receiver.statuses = [status]
    assert Sender(database, HERE, VAULT).send_next()
    assert len(receiver.got) == 1
    (one,) = deliveries(database, mine)
    assert (one.status, one.delivered_at) == (status, None)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ],
)
def test_a_private_address_is_never_connected_to(database: Database, host: str) -> None:
    with listen() as listener:
        mine = hook(database, f"https://{host}:{listener.port}/")
        tell(database, "job.completed")
        assert Sender(database, frozenset(), VAULT).send_next()
        assert listener.count() == 0
    (one,) = deliveries(database, mine)
    assert "private network" in (one.error or "")


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of which the first connection is served so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def work() -> None:
            connection, _ = listening.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=work)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(60)
        assert not thread.is_alive()


def drip(connection: socket.socket) -> None:
    """An answer that never ends, a byte at a time."""
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X: y\r\n")
            time.sleep(0.05)
    except OSError:
        pass


def hold(connection: socket.socket) -> None:
    """No answer."""
    while connection.recv(65536):
        pass


def rubbish(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"\x00\xff" * 100)


@pytest.mark.parametrize(
    ("serve", "error"), [(drip, "in time"), (hold, "in time"), (rubbish, "could not be reached")]
)
def test_a_receiver_that_answers_badly_costs_one_attempt(
    database: Database, serve: Callable[[socket.socket], None], error: str
) -> None:
    with server(serve) as port:
        mine = hook(database, f"http://127.0.0.1:{port}/")
        tell(database, "job.completed")
        assert Sender(database, HERE, VAULT, timeout_s=1.0).send_next()
    (one,) = deliveries(database, mine)
    assert error in (one.error or "")
    assert one.delivered_at is None


def test_a_sender_that_died_is_made_up_for(database: Database, receiver: Receiver) -> None:
    mine = hook(database, receiver.url)
    tell(database, "job.completed")
    with database.transaction() as connection:
        lost = webhooks.claim(connection, module.LEASE_S)
    assert lost is not None
    sender = Sender(database, HERE, VAULT)
    assert not sender.send_next()
    make_due(database)  # the lease has passed
    assert sender.send_next()
    with database.transaction() as connection:  # what the dead one says afterwards counts nothing
        webhooks.failed(connection, lost, 500, "late", 5.0)
    (one,) = deliveries(database, mine)
    assert (one.attempts, one.error) == (2, None)
    assert one.delivered_at is not None


def test_one_webhook_is_called_by_one_sender_at_a_time(
    database: Database, receiver: Receiver
) -> None:
    hook(database, receiver.url)
    hook(database, receiver.url)
    for _ in range(2):
        tell(database, "job.completed")
    taken = []
    for _ in range(3):
        with database.transaction() as connection:
            taken.append(webhooks.claim(connection, module.LEASE_S))
    first, second, third = taken
    assert first is not None
    assert second is not None
    assert first.webhook_id != second.webhook_id
    assert third is None


def test_no_secret_is_told_to_logs_or_errors(
    database: Database, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    secret = new_secret()
    mine = hook(database, receiver.url, secret=secret)
    tell(database, "job.completed")
    receiver.statuses = [500]
    with caplog.at_level(logging.DEBUG):
        assert Sender(database, HERE, VAULT).send_next()
    make_due(database)
    with database.transaction() as connection:
        claimed = webhooks.claim(connection, module.LEASE_S)
    assert secret not in caplog.text
    assert secret not in repr(claimed)
    assert secret not in repr(deliveries(database, mine))


def test_the_dispatchers_threads_send_all_there_is(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.05)
    mine = [hook(database, receiver.url) for _ in range(3)]
    with sending(database, HERE, VAULT):
        for _ in range(5):
            tell(database, "job.completed")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = [one for each in mine for one in deliveries(database, each)]
            if len(found) == 15 and all(one.delivered_at for one in found):
                break
            time.sleep(0.1)
    assert len(receiver.got) == 15
    assert all(one.attempts == 1 for each in mine for one in deliveries(database, each))
