"""Dagster instances that keep their database connections."""

import time
from typing import Any

from dagster import DagsterInstance
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError

IDLE_S = 1.0  # a connection that was in use a moment ago is not tested again


def pool_connections(instance: DagsterInstance) -> None:
    """Pool the instance's connections, and test idle ones before use. Only ever after a fork.

    Dagster opens one per statement unless told otherwise, which costs ten times as much; its pools
    hand out dead ones after a restart of the database, hence the test.
    """
    instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=300, max_overflow=5)
    storages: tuple[Any, ...] = (
        instance.run_storage,
        instance.event_log_storage,
        instance.schedule_storage,
    )
    for storage in storages:
        check_idle_connections(storage._engine)


def check_idle_connections(engine: Any) -> None:
    """Have the pool replace connections that do not answer after a pause.

    SQLAlchemy's own pre-ping asks before every use, and so doubles the count of round trips.
    """

    def used(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def check(connection: Any, record: Any, _proxy: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except (DBAPIError, engine.dialect.dbapi.Error) as error:
            raise DisconnectionError("the connection has died while idle") from error

    event.listen(engine, "checkin", used)
    event.listen(engine, "checkout", check)
