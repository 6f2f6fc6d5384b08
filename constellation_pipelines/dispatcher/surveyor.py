"""The surveyor: adds what changed on the coverage map to its cells, a moment later.

Whoever draws the map sees changes before that too; they only take longer to add up.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store import coverage
from constellation_pipelines.store.database import Database

EVERY_S = 1.0
BATCH = 2_000  # changes in a transaction
JOIN_S = 5.0

log = logging.getLogger(__name__)


def settle_all(database: Database, stop: threading.Event, batch: int = BATCH) -> int:
    """Settle changes until few are left; how many there were. Raises ServiceUnavailable."""
    settled = 0
    while not stop.is_set():
        with database.transaction() as connection:
            found = coverage.settle(connection, batch)
        settled += found
        if found < batch:
            break
    return settled


def work(database: Database, stop: threading.Event) -> None:
    """Settle again and again, until told to stop."""
    while not stop.wait(EVERY_S):
        try:
            settle_all(database, stop)
        except ServiceUnavailable:
            pass
        except Exception:
            log.exception("the coverage map's cells were not settled; it is tried again")


@contextmanager
def surveying(database: Database) -> Iterator[None]:
    """Keep the cells up to date in a thread while the body runs."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(database, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(JOIN_S)
