"""A retry takes over what earlier runs of its job have done; runs at once do not rob each other."""

from uuid import UUID

import pytest

from constellation_pipelines.domain.errors import LeaseLost
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store import adoption, plans, queue, tiles
from constellation_pipelines.store.database import Database
from tests.store.test_queue import claimed, finish, run, worker
from tests.store.test_tiles import LEFT, RIGHT, Work, commit, row, work

DIGESTS = [row(LEFT).digest, row(RIGHT).digest]


def retry_of(database: Database, earlier: Work, state: str = "CANCELLED") -> Work:
    """End a run in this state, and start another of the same job, scene and model."""
    finish(database, earlier.lease, 1)
    database.execute(
        "update constellation.runs set state = %s, metrics = %s where id = %s",
        (state, '{"area_km2": 3077, "outputs": {}}', earlier.lease.run_id),
    )
    run_id = new_id()
    with database.transaction() as connection:
        connection.execute(
            "insert into constellation.runs (id, job_id, scene_id, model_id, state, tiles_planned) "
            "select %s, job_id, scene_id, model_id, 'QUEUED', 2 from constellation.runs "
            "where id = %s",
            (run_id, earlier.lease.run_id),
        )
        queue.enqueue(
            connection, run_id=run_id, instance_ref="{}", resume=False, priority=0, gpu_count=1
        )
    return Work(claimed(database, worker(database)).lease, earlier.scene_id, earlier.model_id)


def beside(database: Database, first: Work) -> Work:
    """Another job's run over the same tiles at the same time, on a device of its own."""
    run_id = run(database)
    database.execute(
        "update constellation.runs set scene_id = %s, model_id = %s, tiles_planned = 2 "
        "where id = %s",
        (first.scene_id, first.model_id, run_id),
    )
    return Work(
        claimed(database, worker(database, devices=2)).lease, first.scene_id, first.model_id
    )


def adopt(database: Database, lease: queue.Lease) -> set[str]:
    with database.transaction() as connection:
        return adoption.adopt(connection, lease, DIGESTS)


def counts(database: Database, run_id: UUID) -> tuple[int, int, int]:
    """Reused, completed, failed."""
    found = database.fetch_one(
        "select tiles_reused, tiles_completed, tiles_failed from constellation.runs where id = %s",
        (run_id,),
    )
    assert found is not None
    return found["tiles_reused"], found["tiles_completed"], found["tiles_failed"]


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_retry_takes_over_what_is_done_and_leaves_what_failed(
    database: Database, state: str
) -> None:
    first = work(database)
    commit(database, first.lease, row(LEFT), row(RIGHT, error="block cannot be read"))
    again = retry_of(database, first, state)
    with database.transaction() as connection:
        assert plans.request_of(connection, again.lease.run_id).retried
        (earlier,) = adoption.earlier_runs(connection, again.lease.run_id)
        assert earlier.id == first.lease.run_id
        assert adoption.tiles_of(connection, earlier.id, DIGESTS) == {DIGESTS[0]}
    assert adopt(database, again.lease) == {DIGESTS[0]}
    assert counts(database, again.lease.run_id) == (0, 1, 0)
    assert counts(database, first.lease.run_id) == (0, 0, 1)
    assert commit(database, again.lease, row(RIGHT)).completed == 2


def test_a_first_run_has_nothing_to_build_on(database: Database) -> None:
    lease = work(database).lease
    with database.transaction() as connection:
        assert not plans.request_of(connection, lease.run_id).retried
        assert adoption.earlier_runs(connection, lease.run_id) == []


def test_a_run_that_is_still_held_keeps_its_tiles(database: Database) -> None:
    first = work(database)
    commit(database, first.lease, row(LEFT))
    again = retry_of(database, first)
    database.execute(
        "update constellation.run_queue set state = 'leased' where run_id = %s",
        (first.lease.run_id,),
    )
    assert adopt(database, again.lease) == set()


def test_a_writer_without_its_lease_adopts_nothing(database: Database) -> None:
    first = work(database)
    commit(database, first.lease, row(LEFT))
    lease = retry_of(database, first).lease
    with pytest.raises(LeaseLost):
        adopt(database, queue.Lease(lease.run_id, lease.fence - 1))
    assert counts(database, first.lease.run_id) == (0, 1, 0)


def test_the_area_of_an_earlier_run_is_not_counted_twice(database: Database) -> None:
    first = work(database)
    commit(database, first.lease, row(LEFT))
    lease = retry_of(database, first).lease
    with database.transaction() as connection:
        adoption.forget(connection, lease, first.lease.run_id)
    found = database.fetch_one(
        "select metrics from constellation.runs where id = %s", (first.lease.run_id,)
    )
    assert found == {"metrics": {"continued_by": str(lease.run_id)}}


def test_runs_at_once_do_not_rob_each_other(database: Database) -> None:
    first = work(database)
    second = beside(database, first)
    commit(database, first.lease, row(LEFT))
    with database.transaction() as connection:
        tiles.commit(connection, second.lease, [row(LEFT), row(RIGHT)], replace=False)
        others = adoption.settle(connection, second.lease, DIGESTS, DIGESTS)
    assert others == {DIGESTS[0]}
    assert counts(database, first.lease.run_id) == (0, 1, 0)
    assert counts(database, second.lease.run_id) == (1, 1, 0)


def test_what_another_run_had_first_is_taken_over_once_it_has_failed(database: Database) -> None:
    first = work(database)
    second = beside(database, first)
    commit(database, first.lease, row(LEFT))
    with database.transaction() as connection:
        tiles.commit(connection, second.lease, [row(LEFT), row(RIGHT)], replace=False)
    finish(database, first.lease, 1)
    database.execute(
        "update constellation.runs set state = 'FAILED' where id = %s", (first.lease.run_id,)
    )
    with database.transaction() as connection:
        assert adoption.settle(connection, second.lease, DIGESTS, DIGESTS) == set()
    assert counts(database, second.lease.run_id) == (0, 2, 0)


def test_a_run_that_was_robbed_counts_the_tile_as_reused(database: Database) -> None:
    first = work(database)
    second = beside(database, first)
    commit(database, first.lease, row(LEFT), row(RIGHT))
    commit(database, second.lease, row(LEFT))  # without reuse a run takes what it computes
    with database.transaction() as connection:
        adoption.settle(connection, first.lease, DIGESTS, DIGESTS)
    assert counts(database, first.lease.run_id) == (1, 1, 0)
