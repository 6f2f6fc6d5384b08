"""Tenancy: whose rows a transaction of the API sees.

The database holds it, not the statements: row-level security shows the role `constellation_api` the
rows of the account that the transaction names, and nothing where it names none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

ONE = "constellation_api"
ALL = "constellation_api_all"
API_ROLES = (ONE, ALL)

# One statement, so that it costs one round trip. The values end with the transaction. A request's
# statements are short: to start processes that help would take longer than they do.
ENTER = """
select set_config('role', %(role)s, true),
       set_config('constellation.account', %(account)s, true),
       set_config('constellation.actor', %(actor)s, true),
       set_config('constellation.address', %(address)s, true),
       set_config('max_parallel_workers_per_gather', '0', true)
"""

ROLE = "select current_setting('role') as role"
SWITCH = "select set_config('role', %(role)s, true)"


@dataclass(frozen=True, slots=True)
class Tenancy:
    """For whom a transaction works: an account, by whom, from where; with `sees_all`, in the rows
    of every account.
    """

    account: str
    sees_all: bool = False
    actor: str = ""
    address: str = ""


NOBODY = Tenancy("")
EVERYONE = Tenancy("", sees_all=True)


def enter(connection: psycopg.Connection[Any], tenancy: Tenancy) -> None:
    """Narrow the transaction that has just begun."""
    args = {
        "role": ALL if tenancy.sees_all else ONE,
        "account": tenancy.account,
        "actor": tenancy.actor,
        "address": tenancy.address,
    }
    connection.execute(ENTER, args)


@contextmanager
def seeing_all(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Let the statements within see the rows of every account.

    For figures about the whole fleet that say nothing of anyone's rows, such as a run's place in
    the queue. An owner's connection, which no policy binds, comes to no harm.
    """
    row = connection.execute(ROLE).fetchone()
    assert row is not None
    before = row["role"]
    connection.execute(SWITCH, {"role": ALL})
    yield
    connection.execute(SWITCH, {"role": before})
