"""The guard: from a key, a token or a session's cookie to who asks."""

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from threading import Lock

from api.buckets import Buckets
from api.oidc import Verifier
from api.watchers import Watchers
from constellation_pipelines.domain import secret
from constellation_pipelines.domain.account import Door, Principal
from constellation_pipelines.domain.errors import (
    Forbidden,
    ServiceUnavailable,
    TooManyRequests,
    Unauthenticated,
)
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import accounts, audit, keys, sessions
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.tenancy import EVERYONE, Tenancy

KNOWN_FOR_S = 1.0  # what was looked up counts for so long: a revoked key opens nothing after that
FRESH_FOR_S = 0.5  # then one request looks again, and the others go on with what is known
LOOK_AGAIN_S = 4.0  # how often it is asked whether an open socket may stay open
REMEMBERED = 10_000
BURST_S = 5.0  # seconds of its rate that an account may use at once
FAILURES_PER_S = 2.0  # of one address; enough for a person, too few to keep the database busy
FAILURES_BURST = 20
LONGEST_TOKEN = 8192

BAD_KEY = "this key opens nothing: it is unknown, revoked or expired"
USED_LOGIN = "this sign-in was used already: begin anew"
TOO_MANY = "too many from here were not let in"
BAD_SESSION = "this session has ended: sign in again"


@dataclass(frozen=True, slots=True)
class Known:
    """Who a token was found to be, None for nobody; by the guard's clock, until when."""

    principal: Principal | None
    fresh_until_s: float
    until_s: float


class Guard:
    """Tells who asks. Lookups wait for the database: call them from a thread.

    What was found, or not found, is kept for a second, so that most requests ask nobody.
    """

    def __init__(
        self, settings: Settings, database: Database, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.required = settings.auth == "required"
        self._database = database.bound(EVERYONE)
        self._session_s = settings.session_hours * 3600
        self._verifier = Verifier.of(settings)
        self._clock = clock
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._lock = Lock()
        self.watchers = Watchers(clock)
        self._reads = buckets(settings.rate_reads_per_s, clock)
        self._writes = buckets(settings.rate_writes_per_s, clock)
        self._failures = Buckets(FAILURES_PER_S, FAILURES_BURST, clock)

    # ---- who ----

    def known(self, token: str) -> tuple[Principal | None, bool]:
        """Who this token was found to be lately, and whether it was looked up at all.

        What is no longer fresh is not told to the first who asks, so that only they look it up.
        """
        name, now_s = secret.hashed(token), self._clock()
        with self._lock:
            known = self._known.get(name)
            if known is None or known.until_s <= now_s:
                return None, False
            if known.fresh_until_s <= now_s:
                self._known[name] = replace(known, fresh_until_s=known.until_s)
                return None, False
        found = known.principal
        if found and found.expires_at and found.expires_at <= datetime.now(UTC):
            return None, True
        return found, True

    def look_up(self, token: str, address: str) -> Principal:
        """Who this key, token or session is, and keep it in mind.

        Raises Unauthenticated, Forbidden for a token without an account, TooManyRequests after too
        many wrong ones from an address, and ServiceUnavailable.
        """
        if wait_s := self._failures.take(address):
            raise TooManyRequests(TOO_MANY, retry_after_s=wait_s)
        try:
            found = self._find(token)
        except (Unauthenticated, Forbidden):
            self._forget(token)
            raise
        except Exception:
            self._failures.give_back(address)
            raise
        self._failures.give_back(address)
        self._remember(token, found)
        return found

    def _find(self, token: str) -> Principal:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise Unauthenticated("this is no key of Constellation's")
        if secret.is_session(token):
            return self._session(token)
        if secret.prefix_of(token) is not None:
            return self._key(token)
        if self._verifier is not None and token.count(".") == 2:
            return self._of_account(self._verifier.principal(token))
        raise Unauthenticated("this is no key of Constellation's: a key begins with cst_")

    def _key(self, token: str) -> Principal:
        prefix = secret.prefix_of(token)
        with self._database.transaction() as connection:
            found = keys.look_up(connection, prefix or "")
        if found is None or not hmac.compare_digest(found.hash, secret.hashed(token)):
            raise Unauthenticated(BAD_KEY)
        return Principal(found.account, found.scope, Door.KEY, found.prefix, found.expires_at)

    def _session(self, token: str) -> Principal:
        with self._database.transaction() as connection:
            found = sessions.look_up(connection, secret.hashed(token))
        if found is None:
            raise Unauthenticated(BAD_SESSION)
        return Principal(found.account, found.scope, Door.SESSION, found.actor, found.expires_at)

    def _of_account(self, principal: Principal) -> Principal:
        with self._database.transaction() as connection:
            known = accounts.exists(connection, principal.account)
        if not known:
            raise Forbidden(
                f"there is no account {principal.account!r} here: `constellation accounts create` "
                "makes it"
            )
        return principal

    def _remember(self, token: str, found: Principal | None) -> None:
        name, now_s = secret.hashed(token), self._clock()
        fresh_s = KNOWN_FOR_S if found is None else FRESH_FOR_S
        with self._lock:
            self._known[name] = Known(found, now_s + fresh_s, now_s + KNOWN_FOR_S)
            self._known.move_to_end(name)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _forget(self, token: str) -> None:
        self.watchers.forget(token)
        with self._lock:
            self._known.pop(secret.hashed(token), None)

    async def until_out(self, principal: Principal, token: str | None, address: str) -> None:
        """Wait until this token opens nothing any more, such as for a socket to be closed then.

        A database that is away ends nothing.
        """
        if token is None:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(min(LOOK_AGAIN_S, seconds_left(principal)))
            if seconds_left(principal) <= 0:
                return
            if self.known(token)[0] is not None:
                continue
            with suppress(ServiceUnavailable, TooManyRequests):
                try:
                    await asyncio.to_thread(self.look_up, token, address)
                except (Unauthenticated, Forbidden):
                    return

    # ---- how often ----

    def take_turn(self, principal: Principal, *, reads: bool) -> None:
        """Count a request. Raises TooManyRequests. Who asks from this machine may always."""
        if principal.door is Door.LOOPBACK:
            return
        wait_s = (self._reads if reads else self._writes).take(principal.account)
        if wait_s:
            what = "reads" if reads else "changes"
            raise TooManyRequests(
                f"account {principal.account} sends {what} faster than it may", retry_after_s=wait_s
            )

    # ---- sessions ----

    def sign_in(self, key: str, address: str) -> tuple[Principal, str]:
        """A new session of this key's, and its token. Raises what `look_up` raises."""
        if secret.prefix_of(key) is None:
            raise Unauthenticated("this is no key of Constellation's: a key begins with cst_")
        principal = self.look_up(key, address)
        token = secret.new_session()
        tenancy = Tenancy(principal.account, True, principal.actor, address)
        with self._database.bound(tenancy).transaction() as connection:
            ends_at = sessions.begin(
                connection, secret.hashed(token), prefix=principal.actor, lasts_s=self._session_s
            )
            if ends_at is None:
                raise Unauthenticated(BAD_KEY)
            audit.record(connection, "session.begun")
        return replace(principal, door=Door.SESSION, expires_at=ends_at), token

    def sign_in_as(self, principal: Principal, login: str, address: str) -> tuple[Principal, str]:
        """A new session of whom an identity provider has named for this login, and its token.

        Raises Forbidden without such an account, Unauthenticated for a login that was used.
        """
        self._of_account(principal)
        token = secret.new_session()
        tenancy = Tenancy(principal.account, True, principal.actor, address)
        with self._database.bound(tenancy).transaction() as connection:
            ends_at = sessions.begin_of_login(
                connection,
                secret.hashed(token),
                account=principal.account,
                scope=principal.scope,
                actor=principal.actor,
                login_hash=secret.hashed(login),
                lasts_s=self._session_s,
            )
            if ends_at is None:
                raise Unauthenticated(USED_LOGIN)
            audit.record(connection, "session.begun")
        return replace(principal, door=Door.SESSION, expires_at=ends_at), token

    @contextmanager
    def knock(self, address: str) -> Iterator[None]:
        """Count what is tried from an address, unless it succeeds. Raises TooManyRequests."""
        if wait_s := self._failures.take(address):
            raise TooManyRequests(TOO_MANY, retry_after_s=wait_s)
        yield
        self._failures.give_back(address)

    def sign_out(self, principal: Principal, token: str, address: str) -> None:
        """End a session, here at once and elsewhere after some seconds."""
        tenancy = Tenancy(principal.account, True, principal.actor, address)
        with self._database.bound(tenancy).transaction() as connection:
            sessions.end(connection, secret.hashed(token))
            audit.record(connection, "session.ended")
        self._remember(token, None)


def seconds_left(principal: Principal) -> float:
    """How long it is until this ends by itself."""
    if principal.expires_at is None:
        return inf
    return (principal.expires_at - datetime.now(UTC)).total_seconds()


def buckets(rate_per_s: float, clock: Callable[[], float]) -> Buckets:
    """Buckets of this rate."""
    return Buckets(rate_per_s, max(1.0, rate_per_s * BURST_S), clock)
