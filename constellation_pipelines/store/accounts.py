"""Accounts: made, listed, and what they may use."""

from dataclasses import dataclass
from datetime import datetime

from constellation_pipelines.domain.account import check_name
from constellation_pipelines.domain.errors import Conflict, NotFound
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store.database import Connection

CREATE = """
insert into constellation.accounts (id, name) values (%(id)s, %(name)s) on conflict do nothing
"""

EXISTS = "select 1 from constellation.accounts where name = %s"

# Every lease counts for as long as it held its slot of a device, within this month (UTC).
GPU_HOURS = """
select coalesce(sum(extract(epoch from
         coalesce(released_at, now())
         - greatest(acquired_at, date_trunc('month', now(), 'UTC')))), 0)::float8 / 3600
  from constellation.leases
 where account = {account}
   and (released_at is null or released_at > date_trunc('month', now(), 'UTC'))
"""

SELECT = f"""
select a.name, a.created_at, a.max_running_runs, a.max_gpu_hours_per_month, a.max_km2_per_job,
       ({GPU_HOURS.format(account="a.name")}) as gpu_hours_this_month,
       (select count(*) from constellation.api_keys k
         where k.account_id = a.id and k.revoked_at is null
           and (k.expires_at is null or k.expires_at > clock_timestamp()))::int as keys
  from constellation.accounts a
"""

LIST = SELECT + " order by a.name"
FIND = SELECT + " where a.name = %(name)s"

SET = """
update constellation.accounts
   set max_running_runs = %(running_runs)s, max_gpu_hours_per_month = %(gpu_hours_per_month)s,
       max_km2_per_job = %(km2_per_job)s
 where name = %(name)s
"""

WAKE = "select pg_notify('constellation_queue', '')"


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account may use; None is without limit.

    `running_runs` at once: more wait. A job that would be larger than `km2_per_job`, or that is
    submitted when `gpu_hours_per_month` are used up, is refused.
    """

    running_runs: int | None = None
    gpu_hours_per_month: float | None = None
    km2_per_job: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account, what it may use and has used this month, and how many of its keys are good."""

    name: str
    created_at: datetime
    quota: Quota
    gpu_hours_this_month: float
    keys: int


def create(connection: Connection, name: str) -> Account:
    """Make an account. Raises InvalidInput and Conflict."""
    args = {"id": new_id(), "name": check_name(name)}
    if connection.execute(CREATE, args).rowcount == 0:
        raise Conflict(f"there is an account {name} already", field="name")
    return find(connection, name)


def exists(connection: Connection, name: str) -> bool:
    """Whether there is an account of this name."""
    return connection.execute(EXISTS, (name,)).fetchone() is not None


def find(connection: Connection, name: str) -> Account:
    """The account of this name. Raises NotFound."""
    row = connection.execute(FIND, {"name": name}).fetchone()
    if row is None:
        raise NotFound(
            f"there is no account {name[:100]!r}: `constellation accounts list` shows them"
        )
    return account_of(row)


def list_all(connection: Connection) -> list[Account]:
    """Every account by name."""
    return [account_of(row) for row in connection.execute(LIST)]


def set_quota(connection: Connection, name: str, quota: Quota) -> Account:
    """Give an account this quota. What runs goes on. Raises NotFound."""
    args = {
        "name": name,
        "running_runs": quota.running_runs,
        "gpu_hours_per_month": quota.gpu_hours_per_month,
        "km2_per_job": quota.km2_per_job,
    }
    connection.execute(SET, args)
    connection.execute(WAKE)
    return find(connection, name)


def account_of(row: dict[str, object]) -> Account:
    """The account in a row of SELECT."""
    quota = Quota(
        row.pop("max_running_runs"),  # type: ignore[arg-type]
        row.pop("max_gpu_hours_per_month"),  # type: ignore[arg-type]
        row.pop("max_km2_per_job"),  # type: ignore[arg-type]
    )
    return Account(**row, quota=quota)  # type: ignore[arg-type]
