"""A run that writes to Dagster's log while the database is away waits, and loses nothing."""

import threading
import time
from typing import NoReturn

import dagster as dg
import pytest
from sqlalchemy.exc import DBAPIError

from constellation_pipelines.launcher import outages
from constellation_pipelines.launcher.instances import pool_connections
from constellation_pipelines.store.database import Database
from tests.conftest import PostgresServer
from tests.launcher.test_launcher import make
from tests.worker.test_supervisor import outage


class GivenUp(Exception):
    """Stands for the end of the process."""


def give_up() -> NoReturn:
    raise GivenUp


def messages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    found = [record.message for record in instance.all_logs(run.run_id)]
    return [message for message in found if message.startswith("line ")]


def write(instance: dg.DagsterInstance, run: dg.DagsterRun, number: int) -> None:
    instance.report_engine_event(f"line {number}", run)


def test_events_of_an_outage_are_all_written(
    instance: dg.DagsterInstance, database: Database, postgres: PostgresServer
) -> None:
    run = make(instance)
    pool_connections(instance)
    outages.outlast_outages(instance, 60, give_up)
    stop, written, failures = threading.Event(), list[str](), list[Exception]()

    def keep_writing() -> None:
        try:
            while not stop.is_set():
                write(instance, run, len(written))
                written.append(f"line {len(written)}")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=keep_writing)
    thread.start()
    for _ in range(3):
        wait_for_more(written)
        with outage(postgres, database.url):
            time.sleep(0.7)
    wait_for_more(written)
    stop.set()
    thread.join(60)
    assert failures == []
    assert set(messages(instance, run)) == set(written)


def wait_for_more(written: list[str]) -> None:
    before, deadline = len(written), time.monotonic() + 60
    while len(written) < before + 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_status_can_be_read_after_an_outage(
    instance: dg.DagsterInstance, database: Database, postgres: PostgresServer
) -> None:
    run = make(instance)
    pool_connections(instance)
    outages.outlast_outages(instance, 60, give_up)
    assert instance.get_run_by_id(run.run_id) is not None
    with outage(postgres, database.url):
        pass
    assert instance.get_run_by_id(run.run_id) is not None


def test_a_database_that_stays_away_is_given_up(
    instance: dg.DagsterInstance, database: Database, postgres: PostgresServer
) -> None:
    run = make(instance)
    pool_connections(instance)
    outages.outlast_outages(instance, 0.5, give_up)
    with outage(postgres, database.url), pytest.raises(GivenUp):
        write(instance, run, 0)


def test_a_wrong_statement_is_no_outage(instance: dg.DagsterInstance, database: Database) -> None:
    run = make(instance)
    pool_connections(instance)
    outages.outlast_outages(instance, 60, give_up)
    database.execute("alter table dagster.event_logs rename to elsewhere")
    with pytest.raises(DBAPIError):
        write(instance, run, 0)
