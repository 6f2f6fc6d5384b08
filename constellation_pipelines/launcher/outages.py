"""Dagster's storages through an outage of the database.

Dagster takes a statement that breaks for a failure of the run. Here each call of a storage waits
for the database to come back and is made again. An event that was written just as the connection
broke can be in the log twice; none is missing.
"""

import functools
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from dagster import DagsterInstance
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

RETRY_S = 0.2
SHUTTING_DOWN = ("57P01", "57P02", "57P03")  # told to end, crashed, not yet up

GiveUp = Callable[[], NoReturn]


def outlast_outages(instance: DagsterInstance, patience_s: float, give_up: GiveUp) -> None:
    """Let an instance wait for its database; `give_up` is called after `patience_s` in vain.

    For a process of its own that may wait: it holds up whoever calls.
    """
    for storage in storages_of(instance):
        patience = Patience(patience_s, give_up)
        event.listen(storage._engine, "do_connect", patience.connect)
        make_patient(storage, patience)


def storages_of(instance: DagsterInstance) -> tuple[Any, ...]:
    """The three storages of an instance on PostgreSQL, each with an engine of its own."""
    return instance.run_storage, instance.event_log_storage, instance.schedule_storage


class Patience:
    """Makes calls again that an outage broke: whole calls only, not those within them."""

    def __init__(self, patience_s: float, give_up: GiveUp) -> None:
        self._patience_s = patience_s
        self._give_up = give_up
        self._of_thread = threading.local()

    def connect(self, dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        """Connect to a server that may be restarting; SQLAlchemy calls it for its pool."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return dialect.connect(*args, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > deadline:
                    self._give_up()
                time.sleep(RETRY_S)

    def call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The method's result, however often it has to be asked."""
        if getattr(self._of_thread, "inside", False):
            return method(*args, **options)
        deadline = time.monotonic() + self._patience_s
        self._of_thread.inside = True
        try:
            while True:
                try:
                    return method(*args, **options)
                except (DBAPIError, DagsterPostgresException) as error:
                    if not is_outage(error):
                        raise
                    if time.monotonic() > deadline:
                        self._give_up()
                    time.sleep(RETRY_S)
        finally:
            self._of_thread.inside = False


def is_outage(error: DBAPIError | DagsterPostgresException) -> bool:
    """Whether the connection broke or none could be made; not that the statement was wrong."""
    if isinstance(error, DagsterPostgresException):
        return True
    code = getattr(error.orig, "pgcode", None) or ""
    return error.connection_invalidated or code in SHUTTING_DOWN or code.startswith("08")


def make_patient(storage: Any, patience: Patience) -> None:
    """Wrap every public method of a storage, save those that hand out what is used later."""
    for name, method in inspect.getmembers(type(storage), inspect.isfunction):
        if not name.startswith("_") and not inspect.isgeneratorfunction(inspect.unwrap(method)):
            bound = getattr(storage, name)
            setattr(storage, name, functools.partial(patience.call, bound))
