"""Dagster instances that keep their database connections."""

from dagster import DagsterInstance


def pool_connections(instance: DagsterInstance) -> None:
    """Pool the instance's connections. Only ever after a fork.

    Dagster opens one per statement unless told otherwise, which costs ten times as much. Our
    storages see to it that a connection that died while idle is not handed out.
    """
    instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=300, max_overflow=5)
