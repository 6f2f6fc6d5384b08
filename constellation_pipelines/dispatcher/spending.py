"""Notes which accounts have used up their GPU-hours, so that the claim need not sum them."""

import time

from constellation_pipelines.store import quotas
from constellation_pipelines.store.database import Database

EVERY_S = 10.0


class Spending:
    """Looks every few seconds; one short statement, and nothing to sum where nobody has a quota."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next_at = 0.0

    def look(self) -> None:
        """Look now and then. Raises ServiceUnavailable without a database."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY_S
        with self._database.transaction() as connection:
            quotas.note_spent(connection)
