"""Brings a database to the state every service expects."""

from typing import Protocol

from constellation_pipelines.stack.dagster_home import dagster_database_url
from migrations import runner


class Storage(Protocol):
    """What Dagster's three PostgreSQL storages have in common."""

    def upgrade(self) -> None:
        """Bring existing tables to the newest version."""

    def dispose(self) -> None:
        """Close connections."""


def prepare_database(database_url: str) -> None:
    """Migrate our schema, then Dagster's, then tie Dagster's run table to ours. Safe to repeat.

    Raises ServiceUnavailable when the database does not answer or lacks PostGIS.
    """
    runner.migrate(database_url)
    prepare_dagster(dagster_database_url(database_url))
    runner.attach_dagster(database_url)


def prepare_dagster(url: str) -> None:
    """Make Dagster's tables, or bring existing ones to the version of the installed Dagster."""
    from dagster_postgres import (
        PostgresEventLogStorage,
        PostgresRunStorage,
        PostgresScheduleStorage,
    )

    for make in (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage):
        storage: Storage = make(url, True)  # makes the tables where there are none
        storage.upgrade()
        storage.dispose()
