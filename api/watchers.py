"""Keys that read metrics lately: they go on while the database that knows them is away.

Monitoring has to be told just then, and needs no database for what it is told.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

from constellation_pipelines.domain import secret
from constellation_pipelines.domain.account import Door, Principal, Scope

LET_IN_FOR_S = 300.0  # since the database knew the key: some scrapes, and an alert's patience
REMEMBERED = 100


class Watchers:
    """Whose keys the database knew when they asked for metrics: by the key's hash, for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._lock = Lock()

    def note(self, token: str, principal: Principal) -> None:
        """The database knows whose this is. Only an admin's key is remembered."""
        if principal.door is not Door.KEY or principal.scope is not Scope.ADMIN:
            return
        name, until_s = secret.hashed(token), self._clock() + LET_IN_FOR_S
        with self._lock:
            self._known[name] = (principal, until_s)
            self._known.move_to_end(name)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def lately(self, token: str) -> Principal | None:
        """Whose key this was a moment ago; None where that is long ago, or it has expired since."""
        with self._lock:
            principal, until_s = self._known.get(secret.hashed(token), (None, 0.0))
        if principal is None or until_s <= self._clock():
            return None
        has_expired = principal.expires_at and principal.expires_at <= datetime.now(UTC)
        return None if has_expired else principal

    def forget(self, token: str) -> None:
        """The database does not know it any more."""
        with self._lock:
            self._known.pop(secret.hashed(token), None)
