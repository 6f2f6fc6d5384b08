"""Accounts with keys, and clients that send them."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.errors import Conflict
from constellation_pipelines.domain.secret import NewKey, new_key
from constellation_pipelines.store import accounts, keys
from constellation_pipelines.store.database import Database
from tests.api.service import Service


def make_account(database: Database, name: str) -> None:
    try:
        with database.transaction() as connection:
            accounts.create(connection, name)
    except Conflict:
        pass


def make_key(
    database: Database,
    account: str,
    scope: Scope = Scope.OPERATOR,
    lasts_s: float | None = None,
) -> NewKey:
    """A new key of an account, which is made where there is none."""
    make_account(database, account)
    key = new_key()
    with database.transaction() as connection:
        keys.create(connection, key, account=account, scope=scope, lasts_s=lasts_s)
    return key


def expire(database: Database, key: NewKey) -> None:
    """Let the time of a key be over."""
    database.execute(
        "update constellation.api_keys set expires_at = clock_timestamp() where prefix = %s",
        (key.prefix,),
    )


@contextmanager
def client(service: Service, token: str | None = None) -> Iterator[httpx.Client]:
    """A client of the server's /api/v1 that sends this token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=60) as http:
        yield http
