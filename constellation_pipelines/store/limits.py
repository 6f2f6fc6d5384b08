"""Limits on runs that are held at once: of all accounts, of each, of one by name."""

from dataclasses import dataclass

from constellation_pipelines.domain.account import check_name
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store.database import Connection

FIND = """
select (select running_runs from constellation.limits) as running_runs,
       (select running_runs_per_account from constellation.limits) as per_account,
       (select coalesce(jsonb_object_agg(name, max_running_runs order by name), '{}')
          from constellation.accounts where max_running_runs is not null) as accounts
"""

SET_ALL = "update constellation.limits set running_runs = %(most)s"
SET_PER_ACCOUNT = "update constellation.limits set running_runs_per_account = %(most)s"

SET_OF_ACCOUNT = """
insert into constellation.accounts (id, name, max_running_runs)
values (%(id)s, %(name)s, %(most)s)
on conflict (name) do update set max_running_runs = excluded.max_running_runs
"""

WAKE = "select pg_notify('constellation_queue', '')"


@dataclass(frozen=True, slots=True)
class Limits:
    """Runs that may be held at once; None is no limit. `accounts` goes before `per_account`."""

    running_runs: int | None
    per_account: int | None
    accounts: dict[str, int]


def find(connection: Connection) -> Limits:
    """The limits as they are."""
    row = connection.execute(FIND).fetchone()
    assert row is not None  # it selects from nothing, so there is always one row
    return Limits(**row)


def set_running_runs(connection: Connection, most: int | None) -> None:
    """Limit the runs of all accounts together."""
    connection.execute(SET_ALL, {"most": most})
    connection.execute(WAKE)


def set_per_account(connection: Connection, most: int | None) -> None:
    """Limit the runs of each account that has no limit of its own."""
    connection.execute(SET_PER_ACCOUNT, {"most": most})
    connection.execute(WAKE)


def set_of_account(connection: Connection, name: str, most: int | None) -> None:
    """Limit the runs of one account; None gives it back the limit of each. Raises InvalidInput."""
    args = {"id": new_id(), "name": check_name(name), "most": most}
    connection.execute(SET_OF_ACCOUNT, args)
    connection.execute(WAKE)
