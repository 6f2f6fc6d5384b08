"""Lists of jobs: narrowed, in order, page by page."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from shapely import MultiPolygon, box

from constellation_pipelines.domain.states import JobState
from constellation_pipelines.store import jobs, places
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.job_list import JobFilter, Page, Sort, list_page
from constellation_pipelines.store.runs import NewRun
from constellation_pipelines.store.tenancy import NOBODY, Tenancy
from tests.store.test_jobs import model_id as model_id
from tests.store.test_jobs import new_job, submit
from tests.store.test_jobs import planned as planned
from tests.store.test_jobs import scene_ids as scene_ids


def page(database: Database, wanted: JobFilter) -> list[UUID]:
    with database.transaction() as connection:
        found = list_page(connection, wanted, limit=100)
        assert found.end is None
        return ids(found)


def ids(page: Page) -> list[UUID]:
    return [UUID(job["id"]) for job in json.loads(page.items)]


def walk(database: Database, sort: Sort, between: Callable[[], object] = int) -> list[UUID]:
    """Every page of two, calling `between` before each further one."""
    found: list[UUID] = []
    beyond = None
    while True:
        with database.transaction() as connection:
            part = list_page(connection, JobFilter(), sort=sort, beyond=beyond, limit=2)
        found += ids(part)
        if part.end is None:
            return found
        beyond = part.end
        between()


def test_each_order_holds_every_job_once(database: Database, planned: list[NewRun]) -> None:
    made = [submit(database, planned) for _ in range(7)]
    with database.transaction() as connection:
        for at, job_id in enumerate(made):
            jobs.set_priority(connection, job_id, at % 3)
    assert walk(database, Sort.NEWEST) == made[::-1]
    assert walk(database, Sort.OLDEST) == made
    by_priority = sorted(range(7), key=lambda at: (-(at % 3), -at))
    assert walk(database, Sort.PRIORITY) == [made[at] for at in by_priority]


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_neither_lose_nor_repeat_when_jobs_are_added_meanwhile(
    database: Database, planned: list[NewRun], sort: Sort
) -> None:
    made = [submit(database, planned) for _ in range(5)]
    left = [4]

    def add() -> None:
        if left[0] > 0:
            left[0] -= 1
            submit(database, planned)

    found = walk(database, sort, add)
    assert [one for one in found if one in made] == (made if sort is Sort.OLDEST else made[::-1])
    assert len(found) == len(set(found))


def test_jobs_that_were_created_at_one_instant_are_all_listed(
    database: Database, planned: list[NewRun]
) -> None:
    made = {submit(database, planned) for _ in range(5)}
    database.execute("update constellation.jobs set created_at = '2026-01-01Z'")
    for sort in Sort:
        found = walk(database, sort)
        assert (len(found), set(found)) == (5, made)


def test_jobs_are_found_by_time(database: Database, planned: list[NewRun]) -> None:
    early, late = submit(database, planned), submit(database, planned)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    database.execute("update constellation.jobs set created_at = %s where id = %s", (noon, early))
    assert page(database, JobFilter(created_after=noon)) == [late, early]
    assert page(database, JobFilter(created_before=noon)) == []
    second = noon + timedelta(seconds=1)
    assert page(database, JobFilter(created_after=noon, created_before=second)) == [early]


def test_jobs_are_found_by_state_account_and_model(
    database: Database, planned: list[NewRun]
) -> None:
    mine = submit(database, planned)
    other = submit(database, planned, new_job(account="other"))
    with database.transaction() as connection:
        jobs.cancel(connection, mine)
    assert page(database, JobFilter(states=(JobState.CANCELLED,))) == [mine]
    assert page(database, JobFilter(states=(JobState.FAILED,))) == []
    assert page(database, JobFilter(submitted_by="other")) == [other]
    assert page(database, JobFilter(model="m@1")) == [other, mine]
    assert page(database, JobFilter(model="' or '1'='1")) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (JobFilter(bbox=(0.5, 0.5, 2, 2)), 1),
        (JobFilter(bbox=(2, 2, 3, 3)), 0),
        (JobFilter(bbox=(170, 0, 0.5, 1)), 1),  # across 180
        (JobFilter(bbox=(170, 0, -170, 1)), 0),
        (JobFilter(near=(0.5, 0.5), radius_m=1), 1),
        (JobFilter(near=(1.1, 0.5), radius_m=5_000), 0),
        (JobFilter(near=(1.1, 0.5), radius_m=12_000), 1),
    ],
)
def test_jobs_are_found_by_place(
    database: Database, planned: list[NewRun], wanted: JobFilter, expected: int
) -> None:
    submit(database, planned)
    assert len(page(database, wanted)) == expected


CORNER = MultiPolygon([box(0, 0, 0.1, 0.1)])  # of the scenes, which reach from 0 to 1 degree
# At which numbers of scenes and runs a question by place is asked in another way.
WAYS = {
    "few": {},
    "many": {"FEW_RUNS": 0},
    "more": {"FEW_RUNS": 0, "MANY_RUNS": 0},
    "most": {"MOST_SCENES": 0},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(places, name, value)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (JobFilter(near=(0.05, 0.05), radius_m=1), {"whole", "corner"}),
        (JobFilter(near=(0.5, 0.5), radius_m=1), {"whole"}),
        (JobFilter(near=(0.5, 0.05), radius_m=44_000), {"whole"}),
        (JobFilter(near=(0.5, 0.05), radius_m=45_000), {"whole", "corner"}),
        (JobFilter(near=(-0.1, 0.05), radius_m=12_000), {"whole", "corner"}),
        (JobFilter(near=(-0.1, 0.05), radius_m=11_000), set()),
        (JobFilter(near=(180, 90), radius_m=20_100_000), {"whole", "corner"}),
        (JobFilter(bbox=(0.5, 0.5, 2, 2)), {"whole"}),
        (JobFilter(bbox=(170, 0, 0.05, 1)), {"whole", "corner"}),
        (JobFilter(bbox=(0.05, 0, -170, 1), near=(0.5, 0.5), radius_m=1), {"whole"}),
    ],
)
@pytest.mark.usefixtures("way")
def test_a_job_lies_where_its_tiles_do(
    database: Database, planned: list[NewRun], wanted: JobFilter, found: set[str]
) -> None:
    whole = submit(database, planned)
    corner = submit(database, [replace(run, ground=CORNER) for run in planned])
    names = {whole: "whole", corner: "corner"}
    assert {names[id] for id in page(database, wanted)} == found


@pytest.mark.usefixtures("way")
def test_a_place_is_narrowed_pages_and_keeps_its_order(
    database: Database, planned: list[NewRun]
) -> None:
    made = [submit(database, planned) for _ in range(5)]
    submit(database, [replace(run, ground=CORNER) for run in planned])
    with database.transaction() as connection:
        jobs.cancel(connection, made[4])
    wanted = JobFilter(states=(JobState.PENDING,), near=(0.5, 0.5), radius_m=10)
    with database.transaction() as connection:
        first = list_page(connection, wanted, limit=3)
        rest = list_page(connection, wanted, beyond=first.end, limit=3)
        oldest = list_page(connection, wanted, sort=Sort.OLDEST, limit=3)
    assert ids(first) + ids(rest) == made[3::-1]
    assert ids(oldest) == made[:3]


@pytest.mark.usefixtures("way")
def test_a_place_shows_an_account_its_own_jobs_only(
    database: Database, planned: list[NewRun]
) -> None:
    mine = submit(database, planned, new_job(account="ann"))
    other = submit(database, planned, new_job(account="ben"))
    wanted = JobFilter(near=(0.5, 0.5), radius_m=10, bbox=(0, 0, 1, 1))
    assert page(database.bound(Tenancy("ann")), wanted) == [mine]
    assert page(database.bound(Tenancy("ann", sees_all=True)), wanted) == [other, mine]
    assert page(database.bound(NOBODY), wanted) == []
