"""The audit: who did what, to what, from where, when. Written in the transaction that does it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from constellation_pipelines.store.database import Connection

# Who and from where is what the transaction was begun with: see tenancy.
RECORD = """
insert into constellation.audit_events (account, actor, address, action, object, details)
values (current_setting('constellation.account'), current_setting('constellation.actor'),
        nullif(current_setting('constellation.address'), ''), %(action)s, %(object)s, %(details)s)
"""

RECORD_OF_HOST = """
insert into constellation.audit_events (account, actor, action, object, details)
values (%(account)s, %(actor)s, %(action)s, %(object)s, %(details)s)
"""

LIST = """
select id, at, account, actor, action, object, address, details
  from constellation.audit_events
 where (%(account)s::text is null or account = %(account)s)
   and (%(action)s::text is null or action = %(action)s)
   and (%(before)s::bigint is null or id < %(before)s)
 order by id desc
 limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A row of the audit. `actor` is a key's prefix, a token's subject, or a person of the host."""

    id: int
    at: datetime
    account: str
    actor: str
    action: str
    object: str | None
    address: str | None
    details: dict[str, Any] = field(default_factory=dict)


def record(connection: Connection, action: str, object: str | None = None, **details: Any) -> None:
    """Note what whoever the transaction works for does in it."""
    args = {"action": action, "object": object, "details": Jsonb(details)}
    connection.execute(RECORD, args)


def record_of_host(
    connection: Connection, action: str, object: str, *, account: str, actor: str, **details: Any
) -> None:
    """Note what a person of the host did to an account with a command."""
    args = {"account": account, "actor": actor, "action": action, "object": object}
    connection.execute(RECORD_OF_HOST, args | {"details": Jsonb(details)})


def list_page(
    connection: Connection,
    *,
    account: str | None = None,
    action: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[AuditEvent]:
    """Rows with an id below `before`, newest first."""
    args = {"account": account, "action": action, "before": before, "limit": limit}
    return [AuditEvent(**row) for row in connection.execute(LIST, args)]
