"""Senders of webhooks: take what is due, post it, note how that went."""

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.domain.webhook import (
    SIGNATURE_HEADER,
    checked_url,
    delay_s,
    signature,
)
from constellation_pipelines.remote.outside import NotReached, ask
from constellation_pipelines.store import webhooks
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.vault import Vault
from constellation_pipelines.store.webhooks import Sending

SENDERS = 4
TIMEOUT_S = 10.0
LEASE_S = 60.0  # longer than an attempt takes, with the look-up of a name
POLL_S = 1.0
JOIN_S = 1.0  # who waits for a slow receiver ends by itself; its delivery is due again later

log = logging.getLogger(__name__)


class Sender:
    """Sends one delivery after the other. `private` are hosts of private networks that may be."""

    def __init__(
        self,
        database: Database,
        private: frozenset[str],
        vault: Vault,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._database = database
        self._vault = vault
        self._private = frozenset(host.lower() for host in private)
        self._timeout_s = timeout_s

    def send_next(self) -> bool:
        """Send what is due the longest; whether there was any. Raises ServiceUnavailable."""
        with self._database.transaction() as connection:
            sending = webhooks.claim(connection, LEASE_S)
        if sending is None:
            return False
        status, error = self._attempt(sending)
        with self._database.transaction() as connection:
            if error is None and status is not None:
                webhooks.delivered(connection, sending, status)
            else:
                wait_s = delay_s(sending.attempts, random.random())
                webhooks.failed(connection, sending, status, error or "", wait_s)
        return True

    def _attempt(self, sending: Sending) -> tuple[int | None, str | None]:
        """The answer's status, and what was wrong."""
        try:
            checked_url(sending.url, self._private)
            status, _ = ask(
                "POST",
                sending.url,
                headers_of(sending, self._vault.opened(sending.secret)),
                sending.body.encode(),
                private=self._private,
                setting="CONSTELLATION_WEBHOOK_PRIVATE_HOSTS",
                timeout_s=self._timeout_s,
            )
        except (InvalidInput, ServiceUnavailable) as error:
            return None, error.message
        except NotReached as error:
            return None, str(error)
        except Exception:
            # One that nobody foresaw must not end the thread: the delivery would end them all.
            log.exception("delivery %s failed on our side", sending.id)
            return None, "it failed on our side; the dispatcher's log tells how"
        if 200 <= status < 300:
            return status, None
        return status, f"it answered {status}" + (", and is not followed" if status < 400 else "")


def headers_of(sending: Sending, secret: str) -> dict[str, str]:
    """The headers of an attempt, signed with this secret."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "Constellation",
        "Constellation-Event": sending.event_type,
        "Constellation-Delivery": str(sending.id),
        SIGNATURE_HEADER: signature(secret, sending.at, sending.body),
    }


def work(sender: Sender, stop: threading.Event) -> None:
    """Send until told to stop. What the database does not answer is tried again a moment later."""
    while not stop.is_set():
        try:
            if sender.send_next():
                continue
        except ServiceUnavailable:
            pass  # it waits, as when there is nothing to do
        stop.wait(POLL_S)


@contextmanager
def sending(database: Database, private: frozenset[str], vault: Vault) -> Iterator[None]:
    """Send from a few threads while the body runs."""
    stop = threading.Event()
    sender = Sender(database, private, vault)
    threads = [
        threading.Thread(target=work, args=(sender, stop), daemon=True) for _ in range(SENDERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(JOIN_S)
