"""Sessions: browsers that have signed in with a key."""

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

END = """
update constellation.sessions set ended_at = coalesce(ended_at, clock_timestamp())
 where hash = %(hash)s
"""

LOOK_UP = """
select a.name as account, k.prefix, k.scope, s.expires_at
  from constellation.sessions s
  join constellation.api_keys k on k.id = s.key_id
  join constellation.accounts a on a.id = k.account_id
 where s.hash = %(hash)s and s.ended_at is null and s.expires_at > clock_timestamp()
   and k.revoked_at is null
"""


@dataclass(frozen=True, slots=True)
class KnownSession:
    """What a session that is good opens, by whose key, until when."""

    account: str
    prefix: str
    scope: Scope
    expires_at: datetime


def begin(connection: Connection, hash: bytes, *, prefix: str, lasts_s: float) -> datetime | None:
    """Keep a session's hash; when it ends. None when the key is good no more."""
    args = {"hash": hash, "prefix": prefix, "lasts_s": lasts_s}
    row = connection.execute(BEGIN, args).fetchone()
    return None if row is None else row["expires_at"]


def end(connection: Connection, hash: bytes) -> None:
    """Let a session open nothing any more."""
    connection.execute(END, {"hash": hash})


def look_up(connection: Connection, hash: bytes) -> KnownSession | None:
    """The session with this hash, if it is good now."""
    row = connection.execute(LOOK_UP, {"hash": hash}).fetchone()
    return None if row is None else KnownSession(**{**row, "scope": Scope(row["scope"])})
