"""Webhooks and what they are told: a trigger on events plans it, the dispatcher sends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from constellation_pipelines.domain.errors import NotFound, QuotaExceeded
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.webhook import GIVE_UP_AFTER_S, Delivery, Webhook
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.vault import SEALED, Vault

MOST_OF_ACCOUNT = 20
LONGEST_ERROR = 300

COUNT = "select count(*) as n from constellation.webhooks where account = %(account)s"
INSERT = """
insert into constellation.webhooks (id, account, url, event_types, secret)
values (%(id)s, %(account)s, %(url)s, %(event_types)s, %(secret)s)
returning id, account, url, event_types, created_at
"""
LIST = """
select id, account, url, event_types, created_at from constellation.webhooks order by created_at, id
"""
DELETE = """
delete from constellation.webhooks where id = %(id)s
returning id, account, url, event_types, created_at
"""
UNSEALED = f"""
select id, secret from constellation.webhooks where secret not like '{SEALED}%' for update
"""
SEAL = "update constellation.webhooks set secret = %(secret)s where id = %(id)s"
EXISTS = "select 1 from constellation.webhooks where id = %(id)s"
DELIVERIES = """
select id, event_id, event_type, attempts, status, error, created_at, due_at, delivered_at,
       gave_up_at
  from constellation.webhook_deliveries
 where webhook_id = %(id)s and (%(before)s::bigint is null or id < %(before)s)
 order by id desc limit %(limit)s
"""

# The attempt is counted before it is made, and the delivery due again should it never be told how
# that went. A webhook that is being called is left alone: a slow one holds one sender, not all.
CLAIM = """
update constellation.webhook_deliveries d
   set attempts = d.attempts + 1,
       sending_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
       due_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
  from constellation.webhooks w
 where w.id = d.webhook_id and d.id = (
   select o.id from constellation.webhook_deliveries o
    where o.delivered_at is null and o.gave_up_at is null and o.due_at <= clock_timestamp()
      and not exists (select 1 from constellation.webhook_deliveries s
                       where s.webhook_id = o.webhook_id and s.delivered_at is null
                         and s.gave_up_at is null and s.sending_until > clock_timestamp())
    order by o.due_at, o.id limit 1 for update skip locked)
returning d.id, d.webhook_id, d.attempts, d.event_type, d.body, w.url, w.secret,
          extract(epoch from clock_timestamp())::bigint as at
"""

DELIVERED = """
update constellation.webhook_deliveries
   set delivered_at = clock_timestamp(), status = %(status)s, error = null, sending_until = null
 where id = %(id)s and attempts = %(attempts)s
"""

FAILED = """
update constellation.webhook_deliveries
   set status = %(status)s, error = %(error)s, sending_until = null,
       due_at = clock_timestamp() + make_interval(secs => %(delay_s)s),
       gave_up_at = case when clock_timestamp() + make_interval(secs => %(delay_s)s)
                              > created_at + make_interval(secs => %(within_s)s)
                         then clock_timestamp() end
 where id = %(id)s and attempts = %(attempts)s and delivered_at is null
"""


@dataclass(frozen=True, slots=True)
class Sending:
    """An attempt that is to be made now; `at` is the database's time in Unix seconds."""

    id: int
    webhook_id: UUID
    attempts: int
    event_type: str
    body: str
    url: str
    secret: str
    at: int

    def __repr__(self) -> str:
        return f"Sending({self.id}, attempt {self.attempts})"


def add(
    connection: Connection, account: str, url: str, event_types: Sequence[str] | None, secret: str
) -> Webhook:
    """Keep a webhook, with its secret as it is given.

    Raises QuotaExceeded when the account has as many as it may.
    """
    row = connection.execute(COUNT, {"account": account}).fetchone()
    if row is not None and row["n"] >= MOST_OF_ACCOUNT:
        raise QuotaExceeded(
            f"account {account} has {MOST_OF_ACCOUNT} webhooks, which is as many as it may have: "
            "remove one"
        )
    types = None if event_types is None else list(event_types)
    args = {"id": new_id(), "account": account, "url": url, "event_types": types, "secret": secret}
    made = connection.execute(INSERT, args).fetchone()
    assert made is not None
    return Webhook(**made)


def seal_all(connection: Connection, vault: Vault) -> None:
    """Seal the secrets that lie open, of webhooks that were made before there was a key."""
    for row in connection.execute(UNSEALED).fetchall():
        connection.execute(SEAL, {"id": row["id"], "secret": vault.sealed(row["secret"])})


def list_all(connection: Connection) -> list[Webhook]:
    """The webhooks that the transaction sees, oldest first."""
    return [Webhook(**row) for row in connection.execute(LIST)]


def remove(connection: Connection, webhook_id: UUID) -> Webhook:
    """Remove a webhook with what it was and is to be told. Raises NotFound."""
    row = connection.execute(DELETE, {"id": webhook_id}).fetchone()
    if row is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    return Webhook(**row)


def deliveries(
    connection: Connection, webhook_id: UUID, *, before: int | None = None, limit: int
) -> list[Delivery]:
    """Deliveries of a webhook with an id below `before`, newest first. Raises NotFound."""
    if connection.execute(EXISTS, {"id": webhook_id}).fetchone() is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    args = {"id": webhook_id, "before": before, "limit": limit}
    return [Delivery(**row) for row in connection.execute(DELIVERIES, args)]


def claim(connection: Connection, lease_s: float) -> Sending | None:
    """Take the delivery that is due the longest; None where none is."""
    row = connection.execute(CLAIM, {"lease_s": lease_s}).fetchone()
    return None if row is None else Sending(**row)


def delivered(connection: Connection, sending: Sending, status: int) -> None:
    """Note that the receiver has it."""
    args = {"id": sending.id, "attempts": sending.attempts, "status": status}
    connection.execute(DELIVERED, args)


def failed(
    connection: Connection, sending: Sending, status: int | None, error: str, delay_s: float
) -> None:
    """Note a failed attempt: the next comes after `delay_s`, or none within a day."""
    args = {
        "id": sending.id,
        "attempts": sending.attempts,
        "status": status,
        "error": error[:LONGEST_ERROR],
        "delay_s": delay_s,
        "within_s": GIVE_UP_AFTER_S,
    }
    connection.execute(FAILED, args)
