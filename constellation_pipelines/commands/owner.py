"""The database, for commands of whoever operates the host."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from constellation_pipelines.store.database import Connection


@contextmanager
def owner_connection() -> Iterator["Connection"]:
    """One transaction as the database's owner. Raises ServiceUnavailable without a database."""
    from constellation_pipelines.commands.stack import database_url, load_settings
    from constellation_pipelines.store.database import Database

    database = Database(database_url(load_settings()), max_size=1)
    try:
        with database.transaction() as connection:
            yield connection
    finally:
        database.close()


def person() -> str:
    """Who runs the command, for the audit."""
    try:
        return f"host:{getpass.getuser()}"
    except (OSError, KeyError, ImportError):  # an account without a name
        return "host:unknown"
