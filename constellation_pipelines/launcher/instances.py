"""Dagster instances that keep their database connections."""

from typing import Any

from dagster import DagsterInstance


def pool_connections(instance: DagsterInstance) -> None:
    """Pool the instance's connections, and test each before use. Only ever after a fork.

    Dagster opens one per statement unless told otherwise, which costs ten times as much; its pools
    hand out dead ones after a restart of the database, hence the test (SQLAlchemy's pre-ping, which
    Dagster has no setting for).
    """
    instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=300, max_overflow=5)
    storages: tuple[Any, ...] = (
        instance.run_storage,
        instance.event_log_storage,
        instance.schedule_storage,
    )
    for storage in storages:
        storage._engine.pool._pre_ping = True
