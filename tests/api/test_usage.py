"""Usage over HTTP."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.service import Service
from tests.api.test_jobs import problem_of


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


def test_csv_has_a_header_and_a_line_per_row(service: Service) -> None:
    response = ask(service, format="csv", by="day")
    assert response.headers["content-type"].startswith("text/csv")
    (header, *rows) = list(csv.reader(io.StringIO(response.text)))
    assert header == ["day", "model", "gpu_s", "energy_j", "tiles", "area_km2"]
    assert rows == []


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


def test_the_leaderboard_ranks_from_one(service: Service) -> None:
    found = service.http.get("/usage/leaderboard").json()
    assert [item["rank"] for item in found["items"]] == list(range(1, len(found["items"]) + 1))
