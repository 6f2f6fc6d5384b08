"""The pruner: deletes what is old, now and then, in batches that hold up nobody."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import pruning
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.pruning import Sweep

EVERY_S = 3600.0
PAUSE_S = 0.2  # between two batches, in which others have the database to themselves
BATCH = 1000
DAY_S = 86_400.0
JOIN_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long what has ended is kept, in days."""

    events_days: float
    audit_days: float
    sessions_days: float
    deliveries_days: float
    idempotency_keys_days: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        return cls(
            settings.keep_events_days,
            settings.keep_audit_days,
            settings.keep_sessions_days,
            settings.keep_deliveries_days,
            settings.keep_idempotency_keys_days,
        )


class Pruner:
    """Deletes in rounds. Every batch is a transaction of its own."""

    def __init__(self, database: Database, kept: Kept, *, batch: int = BATCH) -> None:
        self._database = database
        self._batch = batch
        self._sweeps = (
            Sweep("events", pruning.EVENTS, kept.events_days * DAY_S, by_id=True),
            Sweep("audit events", pruning.AUDIT, kept.audit_days * DAY_S, by_id=True),
            Sweep("sessions", pruning.SESSIONS, kept.sessions_days * DAY_S),
            Sweep("webhook deliveries", pruning.DELIVERIES, kept.deliveries_days * DAY_S),
            Sweep("idempotency keys", pruning.IDEMPOTENCY_KEYS, kept.idempotency_keys_days * DAY_S),
        )

    def round(self, stop: threading.Event, pause_s: float = PAUSE_S) -> dict[str, int]:
        """Delete all that is old; how much of each. Raises ServiceUnavailable."""
        deleted = dict.fromkeys((sweep.name for sweep in self._sweeps), 0)
        for sweep in self._sweeps:
            after: int | None = 0
            while after is not None and not stop.is_set():
                with self._database.transaction() as connection:
                    batch = sweep.batch(connection, after, self._batch)
                deleted[sweep.name] += batch.deleted
                after = batch.after
                stop.wait(0 if after is None else pause_s)
        return deleted


def work(pruner: Pruner, stop: threading.Event) -> None:
    """Round after round, until told to stop. Without a database the next round comes later."""
    while not stop.is_set():
        try:
            deleted = pruner.round(stop)
            if told := ", ".join(f"{count} {name}" for name, count in deleted.items() if count):
                log.info("deleted what is old: %s", told)
        except ServiceUnavailable:
            pass
        except Exception:
            log.exception("pruning failed on our side; it is tried again in an hour")
        stop.wait(EVERY_S)


@contextmanager
def pruning_of(database: Database, kept: Kept) -> Iterator[None]:
    """Prune in a thread while the body runs."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(Pruner(database, kept), stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(JOIN_S)
