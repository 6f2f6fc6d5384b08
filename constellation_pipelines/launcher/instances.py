"""Dagster instances that keep their database connections, and what else a run process adds."""

import logging

from dagster import DagsterInstance


def pool_connections(instance: DagsterInstance) -> None:
    """Pool the instance's connections. Only ever after a fork.

    Dagster opens one per statement unless told otherwise, which costs ten times as much. Our
    storages see to it that a connection that died while idle is not handed out.
    """
    instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=300, max_overflow=5)


def also_log_to(instance: DagsterInstance, handler: logging.Handler) -> None:
    """Give each line of this process's runs to a handler too.

    dagster.yaml could name one, but Dagster then sets up Python's logging anew for each step.
    """
    own = instance.get_handlers
    instance.get_handlers = lambda: [*own(), handler]  # type: ignore[method-assign]
