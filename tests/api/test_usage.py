"""Usage over HTTP."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from constellation_pipelines.store import leases
from constellation_pipelines.store.leases import Lease
from tests.api.people import make_account
from tests.api.service import Service
from tests.api.test_jobs import problem_of
from tests.store import fleet
from tests.store import test_usage as rows


def ask(service: Service, account: str = "me", **query: Any) -> Any:
    response = service.http.get(f"/usage/accounts/{account}", params=query)
    assert response.status_code == 200, response.text
    return response


def test_an_account_that_did_nothing_has_used_nothing(service: Service) -> None:
    found = ask(service).json()
    assert found["account"] == "local"
    assert found["items"] == []
    assert found["total"] == {
        "day": None,
        "model": None,
        "gpu_s": 0.0,
        "energy_j": None,
        "tiles": 0,
        "area_km2": 0.0,
    }
    today = datetime.now(UTC).date()
    assert found["last_day"] == today.isoformat()
    assert found["first_day"] == (today - timedelta(days=29)).isoformat()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"first_day": "2026-02-30"}, "first_day"),
        ({"first_day": "2026-03-02", "last_day": "2026-03-01"}, "first_day"),
        ({"first_day": "1999-12-31", "last_day": "2000-01-02"}, "first_day"),
        ({"first_day": "2024-01-01", "last_day": "2026-01-01"}, "first_day"),
        ({"last_day": "0001-01-01"}, "first_day"),
        ({"last_day": "9999-12-31", "first_day": "2026-01-01"}, "first_day"),
        ({"by": "hour"}, "by"),
        ({"format": "xml"}, "format"),
        ({"since": "2026-01-01"}, "since"),
    ],
)
def test_days_that_make_no_sense_are_refused(
    service: Service, query: dict[str, str], field: str
) -> None:
    found = problem_of(service.http.get("/usage/accounts/me", params=query), 422)
    assert field in str(found)


def test_an_account_that_is_not_there_is_404(service: Service) -> None:
    assert service.http.get("/usage/accounts/nobody").status_code == 404
    assert service.http.get("/usage/accounts/%00").status_code in (404, 422)


YESTERDAY_NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0) - timedelta(days=1)


@pytest.fixture(scope="module")
def worked(service: Service) -> str:
    """Ann and Ben have worked, Ann with two models on two days; the yesterday of the days."""
    database = service.database
    fleet.host(database, fleet.gpu("used", slots=8))
    row = database.fetch_one("select id from constellation.gpus where uuid = 'used'")
    assert row is not None
    place = rows.scene(database)
    water, roads = rows.model(database, "=water"), rows.model(database, "roads")
    for slot, (account, model, days, seconds, joules, km2) in enumerate(
        (
            ("ann", water, 0, 60, 900.0, (2.5, 1.5)),
            ("ann", water, 1, 30, 100.0, ()),
            ("ann", roads, 0, 10, None, (1.0,)),
            ("ben", roads, 0, 5, None, (40.0,)),
        )
    ):
        make_account(database, account)
        run = rows.run_of(database, account, model)
        at = YESTERDAY_NOON - timedelta(days=days)
        fence = rows.lease(database, row["id"], run, at, at + timedelta(seconds=seconds), slot)
        if joules is not None:
            with database.transaction() as connection:
                leases.note_energy(connection, Lease(run, fence), {"used": joules})
        for one in km2:
            rows.tile(database, run, place, at, one)
    return YESTERDAY_NOON.date().isoformat()


def test_what_an_account_used_is_told_by_day_and_model(service: Service, worked: str) -> None:
    found = ask(service, "ann").json()
    total = found["total"]
    assert (total["gpu_s"], total["energy_j"], total["tiles"], total["area_km2"]) == (
        100.0,
        1000.0,
        3,
        5.0,
    )
    of = {(item["day"], item["model"]): item for item in found["items"]}
    assert len(of) == 3
    assert of[worked, "=water@1"]["energy_j"] == 900.0
    assert of[worked, "roads@1"]["energy_j"] is None
    assert [item["gpu_s"] for item in ask(service, "ann", by="day").json()["items"]] == [30.0, 70.0]
    by_model = {item["model"]: item for item in ask(service, "ann", by="model").json()["items"]}
    assert {name: item["tiles"] for name, item in by_model.items()} == {"=water@1": 2, "roads@1": 1}
    before = ask(service, "ann", last_day=(YESTERDAY_NOON - timedelta(days=1)).date().isoformat())
    assert before.json()["total"]["gpu_s"] == 30.0


def test_csv_has_the_same_rows_and_no_formula(service: Service, worked: str) -> None:
    response = ask(service, "ann", format="csv")
    assert response.headers["content-type"].startswith("text/csv")
    (header, *found) = list(csv.reader(io.StringIO(response.text)))
    assert header == ["day", "model", "gpu_s", "energy_j", "tiles", "area_km2"]
    assert [worked, "'=water@1", "60.0", "900.0", "2", "4.0"] in found
    assert [worked, "roads@1", "10.0", "", "1", "1.0"] in found
    assert len(found) == len(ask(service, "ann").json()["items"]) == 3


def test_the_leaderboard_ranks_by_area(service: Service, worked: str) -> None:
    items = service.http.get("/usage/leaderboard").json()["items"]
    assert [(item["rank"], item["account"], item["area_km2"]) for item in items] == [
        (1, "ben", 40.0),
        (2, "ann", 5.0),
    ]
    assert items[1]["energy_j"] == 1000.0
