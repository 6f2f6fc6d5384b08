"""The door to PostgreSQL: a pool of connections and short transactions."""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store import tenancy
from constellation_pipelines.store.tenancy import Tenancy

Connection = psycopg.Connection[DictRow]


def check(connection: psycopg.Connection[Any]) -> None:
    """Raise OperationalError for an idle connection that the server has ended.

    A server says so before it goes, so that there is something to read; only then is it asked. To
    ask each time would cost every transaction a round trip.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        ConnectionPool.check_connection(connection)


@contextmanager
def closed_on_failure(connection: Connection) -> Iterator[None]:
    """Close a connection that nobody will have, because what was to be done first went wrong."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


class Database:
    """Hands out transactions on a pool. Make it after a fork, never before.

    Rows are dictionaries. Times in statements come from the database's clock, never from ours.
    With a `tenancy` every transaction is narrowed to it; without one it works as the owner.
    """

    def __init__(
        self,
        url: str,
        *,
        max_size: int = 8,
        timeout_s: float = 5.0,
        tenancy: Tenancy | None = None,
    ) -> None:
        self.url = url
        self._tenancy = tenancy
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=0,
            max_size=max_size,
            timeout=timeout_s,
            # Attempts to connect come ever later within this time; then they begin anew.
            reconnect_timeout=timeout_s,
            open=True,
            connection_class=psycopg.Connection[DictRow],
            kwargs={"row_factory": dict_row, "application_name": "constellation"},
            check=check,
        )

    def bound(self, tenancy: Tenancy) -> "Database":
        """The same pool, with every transaction narrowed to this tenancy."""
        other = copy(self)
        other._tenancy = tenancy
        return other

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed on exit, rolled back on an exception.

        Raises ServiceUnavailable when the database cannot be reached.
        """
        try:
            with self._pool.connection() as connection:
                if self._tenancy is not None:
                    tenancy.enter(connection, self._tenancy)
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise ServiceUnavailable("the database does not answer right now") from error

    def fetch_all(self, sql: str, args: Any = None) -> list[DictRow]:
        """Rows of one statement in a transaction of its own."""
        with self.transaction() as connection:
            return connection.execute(sql, args).fetchall()

    def fetch_one(self, sql: str, args: Any = None) -> DictRow | None:
        """First row of one statement in a transaction of its own, or None."""
        with self.transaction() as connection:
            return connection.execute(sql, args).fetchone()

    def execute(self, sql: str, args: Any = None) -> int:
        """Run one statement in a transaction of its own; return the count of rows it touched."""
        with self.transaction() as connection:
            return connection.execute(sql, args).rowcount

    def listen(self, *channels: str) -> Connection:
        """A connection of its own, in autocommit, that hears NOTIFY on these channels."""
        try:
            connection = psycopg.connect(self.url, autocommit=True, row_factory=dict_row)
            with closed_on_failure(connection):
                for channel in channels:
                    connection.execute(f'listen "{channel}"')
        except psycopg.OperationalError as error:
            raise ServiceUnavailable("the database does not answer right now") from error
        return connection

    def notifications(self, listener: Connection) -> list[psycopg.Notify]:
        """What a listening connection has heard, without waiting."""
        try:
            return list(listener.notifies(timeout=0))
        except psycopg.OperationalError as error:
            raise ServiceUnavailable("the database does not answer right now") from error

    def close(self) -> None:
        """Close the pool's connections."""
        self._pool.close()
