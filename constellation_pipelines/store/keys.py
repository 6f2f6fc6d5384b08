"""API keys: made, listed, revoked, looked up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.errors import Conflict, NotFound
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.secret import NewKey
from constellation_pipelines.store.database import Connection

INSERT = """
insert into constellation.api_keys (id, account_id, prefix, hash, name, scope, expires_at)
select %(id)s, id, %(prefix)s, %(hash)s, %(name)s, %(scope)s,
       clock_timestamp() + make_interval(secs => %(lasts_s)s::float8)
  from constellation.accounts where name = %(account)s
"""

SELECT = """
select k.prefix, a.name as account, k.name, k.scope, k.created_at, k.expires_at, k.revoked_at,
       k.last_used_at, k.revoked_at is null
         and (k.expires_at is null or k.expires_at > clock_timestamp()) as is_good
  from constellation.api_keys k join constellation.accounts a on a.id = k.account_id
"""

LIST = (
    SELECT
    + " where %(account)s::text is null or a.name = %(account)s order by k.created_at, k.prefix"
)
OF_PREFIX = SELECT + " where k.prefix = %(prefix)s"

REVOKE = """
update constellation.api_keys set revoked_at = coalesce(revoked_at, clock_timestamp())
 where prefix = %(prefix)s
"""

# A key that is looked up is in use; to the minute, so that looking does not always write.
LOOK_UP = """
select a.name as account, k.prefix, k.hash, k.scope, k.expires_at,
       coalesce(k.last_used_at < clock_timestamp() - interval '1 minute', true) as unnoted
  from constellation.api_keys k join constellation.accounts a on a.id = k.account_id
 where k.prefix = %(prefix)s and k.revoked_at is null
   and (k.expires_at is null or k.expires_at > clock_timestamp())
"""

NOTE_USE = """
update constellation.api_keys set last_used_at = clock_timestamp() where prefix = %(prefix)s
"""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it may be shown. `is_good` means that it opens the API now."""

    prefix: str
    account: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    is_good: bool


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What a key that is good opens, and the hash that tells whether it is this key."""

    account: str
    prefix: str
    hash: bytes
    scope: Scope
    expires_at: datetime | None


def create(
    connection: Connection,
    key: NewKey,
    *,
    account: str,
    scope: Scope,
    name: str = "",
    lasts_s: float | None = None,
) -> Key:
    """Keep a new key's hash. It lasts for ever without `lasts_s`. Raises NotFound."""
    args = {"id": new_id(), "prefix": key.prefix, "hash": key.hash, "name": name}
    args |= {"scope": scope, "lasts_s": lasts_s, "account": account}
    if connection.execute(INSERT, args).rowcount == 0:
        raise NotFound(
            f"there is no account {account!r}: `constellation accounts create` makes one",
            field="account",
        )
    return find(connection, key.prefix)


def find(connection: Connection, prefix: str) -> Key:
    """The key with this prefix. Raises NotFound."""
    row = connection.execute(OF_PREFIX, {"prefix": prefix}).fetchone()
    if row is None:
        raise NotFound(f"there is no key {prefix!r}: `constellation keys list` shows them")
    return Key(**{**row, "scope": Scope(row["scope"])})


def list_all(connection: Connection, account: str | None = None) -> Sequence[Key]:
    """Every key of an account, or of all, oldest first; also those that open nothing any more."""
    rows = connection.execute(LIST, {"account": account})
    return [Key(**{**row, "scope": Scope(row["scope"])}) for row in rows]


def revoke(connection: Connection, prefix: str) -> Key:
    """Let a key open nothing any more. Raises NotFound, and Conflict for one that did not."""
    if find(connection, prefix).revoked_at is not None:
        raise Conflict(f"key {prefix} is revoked already")
    connection.execute(REVOKE, {"prefix": prefix})
    return find(connection, prefix)


def look_up(connection: Connection, prefix: str) -> KnownKey | None:
    """The key with this prefix, if it is good now; its use is noted."""
    row = connection.execute(LOOK_UP, {"prefix": prefix}).fetchone()
    if row is None:
        return None
    if row.pop("unnoted"):
        connection.execute(NOTE_USE, {"prefix": prefix})
    return KnownKey(**{**row, "scope": Scope(row["scope"])})
