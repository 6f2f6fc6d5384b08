"""The benchmark's own check of answers by place finds what is wrong with them."""

import psycopg
import pytest

from benchmarks.api.near import compare
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.store.database import Database
from tests.store.test_tiles import LEFT, commit, row, work

IN_THE_TILE, FAR_AWAY = (0.25, 0.25), (40.0, 40.0)


@pytest.fixture
def job(database: Database) -> str:
    commit(database, work(database).lease, row(LEFT))
    found = database.fetch_one("select id::text from constellation.jobs")
    assert found is not None
    return str(found["id"])


def test_the_jobs_of_the_tiles_are_the_answer(database: Database, job: str) -> None:
    with psycopg.connect(database.url) as connection:
        compare(connection, IN_THE_TILE, 1_000, [job])
        compare(connection, FAR_AWAY, 1_000, [])


def test_a_job_that_is_missing_or_foreign_is_noticed(database: Database, job: str) -> None:
    with psycopg.connect(database.url) as connection:
        for spot, ids in (
            (IN_THE_TILE, []),
            (IN_THE_TILE, [job, str(new_id())]),
            (FAR_AWAY, [job]),
        ):
            with pytest.raises(RuntimeError, match="not the jobs of the tiles"):
                compare(connection, spot, 1_000, ids)
