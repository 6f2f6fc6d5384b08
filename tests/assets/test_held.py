"""A run tells of a failure only while it holds its lease."""

import pytest

from assets.predictions import held
from constellation_pipelines.domain.errors import LeaseLost
from constellation_pipelines.store import queue
from constellation_pipelines.store.database import Database
from tests.store.test_queue import claimed, run, worker


def fail(database: Database, lease: queue.Lease) -> None:
    with held(database, lease):
        raise OSError("the draft has gone")


def test_the_holder_of_a_lease_tells_what_went_wrong(database: Database) -> None:
    run(database)
    lease = claimed(database, worker(database)).lease
    with pytest.raises(OSError, match="the draft has gone"):
        fail(database, lease)


def test_who_has_lost_the_lease_says_only_that(database: Database) -> None:
    run(database)
    lease = claimed(database, worker(database)).lease
    with database.transaction() as connection:
        queue.requeue(connection, lease, resume=True)
    with pytest.raises(LeaseLost):
        fail(database, lease)
