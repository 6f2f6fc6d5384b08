"""Sessions: browsers that have signed in, with a key or by way of an identity provider."""

from dataclasses import dataclass
from datetime import datetime

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.store.database import Connection

# It ends with its key at the latest.
BEGIN = """
insert into constellation.sessions (hash, key_id, expires_at)
select %(hash)s, id,
       least(expires_at, clock_timestamp() + make_interval(secs => %(lasts_s)s::float8))
  from constellation.api_keys
 where prefix = %(prefix)s and revoked_at is null
   and (expires_at is null or expires_at > clock_timestamp())
returning expires_at
"""

# Nothing where the login has begun a session already.
BEGIN_OF_LOGIN = """
insert into constellation.sessions (hash, account_id, scope, actor, login_hash, expires_at)
select %(hash)s, id, %(scope)s, %(actor)s, %(login_hash)s,
       clock_timestamp() + make_interval(secs => %(lasts_s)s::float8)
  from constellation.accounts where name = %(account)s
on conflict (login_hash) do nothing
returning expires_at
"""

END = """
update constellation.sessions set ended_at = coalesce(ended_at, clock_timestamp())
 where hash = %(hash)s
"""

LOOK_UP = """
select a.name as account, coalesce(k.prefix, s.actor) as actor, coalesce(k.scope, s.scope) as scope,
       s.expires_at
  from constellation.sessions s
  left join constellation.api_keys k on k.id = s.key_id
  join constellation.accounts a on a.id = coalesce(k.account_id, s.account_id)
 where s.hash = %(hash)s and s.ended_at is null and s.expires_at > clock_timestamp()
   and k.revoked_at is null
"""


@dataclass(frozen=True, slots=True)
class KnownSession:
    """What a session that is good opens, until when; `actor` is a key's prefix or whom the identity
    provider named.
    """

    account: str
    actor: str
    scope: Scope
    expires_at: datetime


def begin(connection: Connection, hash: bytes, *, prefix: str, lasts_s: float) -> datetime | None:
    """Keep a session's hash; when it ends. None when the key is good no more."""
    args = {"hash": hash, "prefix": prefix, "lasts_s": lasts_s}
    row = connection.execute(BEGIN, args).fetchone()
    return None if row is None else row["expires_at"]


def begin_of_login(
    connection: Connection,
    hash: bytes,
    *,
    account: str,
    scope: Scope,
    actor: str,
    login_hash: bytes,
    lasts_s: float,
) -> datetime | None:
    """Keep the hash of a session without a key; when it ends. None when its login was used."""
    args = {
        "hash": hash,
        "account": account,
        "scope": scope,
        "actor": actor,
        "login_hash": login_hash,
        "lasts_s": lasts_s,
    }
    row = connection.execute(BEGIN_OF_LOGIN, args).fetchone()
    return None if row is None else row["expires_at"]


def end(connection: Connection, hash: bytes) -> None:
    """Let a session open nothing any more."""
    connection.execute(END, {"hash": hash})


def look_up(connection: Connection, hash: bytes) -> KnownSession | None:
    """The session with this hash, if it is good now."""
    row = connection.execute(LOOK_UP, {"hash": hash}).fetchone()
    return None if row is None else KnownSession(**{**row, "scope": Scope(row["scope"])})
