"""What Prometheus reads."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.secret import NewKey, new_key
from constellation_pipelines.store import keys
from tests.api.people import make_key
from tests.api.service import Service, away, serving
from tests.api.test_jobs import problem_of

Labels = tuple[tuple[str, str], ...]


def metrics_of(answer: httpx.Response) -> dict[tuple[str, Labels], float]:
    """Each number by its name and labels."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def asked(service: Service, **headers: Any) -> httpx.Response:
    return httpx.get(f"{service.url}/metrics", timeout=60, **headers)


@pytest.fixture
def alone(database_url: str, nats_url: str, tmp_path: Path) -> Any:
    with serving(database_url, nats_url, tmp_path) as service:
        yield service


def test_jobs_devices_and_the_queue_are_counted(alone: Service) -> None:
    with alone.database.transaction() as connection:
        connection.execute(
            "insert into constellation.jobs (id, name, params, state, submitted_by) "
            "select gen_random_uuid(), 'x', '{}', state, 'local' "
            "from unnest(array['PENDING', 'PENDING', 'FAILED']) state"
        )
        connection.execute(
            "insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated) "
            "values (gen_random_uuid(), 'SIM-1', 'here', 0, 'Simulated GPU', 1000, true)"
        )
    found = metrics_of(asked(alone))
    assert found["constellation_jobs", (("state", "PENDING"),)] == 2
    assert found["constellation_jobs", (("state", "FAILED"),)] == 1
    assert found["constellation_database_up", ()] == 1
    assert found["constellation_runs_queued", ()] == 0
    device = (
        ("host", "here"),
        ("name", "Simulated GPU"),
        ("simulated", "true"),
        ("uuid", "SIM-1"),
    )
    assert found["constellation_gpu_ready", device] == 0
    assert found["constellation_gpu_healthy", device] == 1


def test_requests_are_counted_by_operation_and_never_by_what_people_make_up(
    alone: Service,
) -> None:
    for _ in range(3):
        alone.http.get("/jobs")
    for path in ("/jobs/nothing-such", "/made/up/1", "/made/up/2"):
        alone.http.get(path)
    found = metrics_of(asked(alone))

    def count(path: str, status: str) -> float:
        labels = (("method", "GET"), ("path", path), ("status", status))
        return found.get(("constellation_http_requests_total", labels), 0)

    assert count("/api/v1/jobs", "200") == 3
    assert count("/api/v1/jobs/{job_id:job}", "422") + count("/api/v1/jobs/{job_id}", "422") == 1
    assert not any("made" in value for _, labels in found for _, value in labels)
    seconds = ("constellation_http_seconds_count", (("method", "GET"), ("path", "/api/v1/jobs")))
    assert found[seconds] == 3
    assert found["constellation_connections_open", (("kind", "http"),)] == 1  # this one


def test_it_still_answers_while_the_database_is_away(
    database_url: str, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.main.POOL_TIMEOUT_S", 0.5)
    with serving(database_url, nats_url, tmp_path) as service, away(database_url):
        found = metrics_of(asked(service))
        assert found["constellation_database_up", ()] == 0
        assert any(name == "constellation_build" for name, _ in found)


def test_numbers_over_all_accounts_take_an_admins_key(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, None, tmp_path, auth="required") as service:
        problem_of(asked(service), 401)
        for scope, status in ((Scope.VIEWER, 403), (Scope.OPERATOR, 403), (Scope.ADMIN, 200)):
            key = make_key(service.database, "ann", scope).text
            answer = asked(service, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status, answer.text


# ---- with keys and without a database ----


@pytest.fixture
def guarded(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_for_s: float
) -> Iterator[Service]:
    """A server that wants a key, and does not wait long for its database."""
    monkeypatch.setattr("api.main.POOL_TIMEOUT_S", 0.5)
    with serving(database_url, None, tmp_path, auth="required") as service:
        yield service


def with_key(key: NewKey) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {key.text}"}}


def test_a_key_that_read_metrics_lately_is_told_that_the_database_is_away(
    guarded: Service, database_url: str, known_for_s: float
) -> None:
    key = make_key(guarded.database, "ann", Scope.ADMIN)
    assert metrics_of(asked(guarded, **with_key(key)))["constellation_database_up", ()] == 1
    with away(database_url):
        time.sleep(known_for_s)
        for _ in range(3):
            found = metrics_of(asked(guarded, **with_key(key)))
            assert found["constellation_database_up", ()] == 0
            assert not any(name.startswith("constellation_jobs") for name, _ in found)
        refused = ("status", "503"), ("path", "elsewhere"), ("method", "GET")
        assert guarded.http.get("/jobs", **with_key(key)).status_code == 503, "nothing else"
        found = metrics_of(asked(guarded, **with_key(key)))
        assert found["constellation_http_requests_total", tuple(sorted(refused))] >= 1
    back_at_s = time.monotonic() + 60
    while metrics_of(asked(guarded, **with_key(key)))["constellation_database_up", ()] == 0:
        assert time.monotonic() < back_at_s


def test_no_other_key_reads_metrics_while_the_database_is_away(
    guarded: Service, database_url: str, known_for_s: float
) -> None:
    admin, viewer, revoked, idle = (
        make_key(guarded.database, "ann", scope)
        for scope in (Scope.ADMIN, Scope.VIEWER, Scope.ADMIN, Scope.ADMIN)
    )
    assert asked(guarded, **with_key(admin)).status_code == 200
    assert asked(guarded, **with_key(revoked)).status_code == 200
    assert asked(guarded, **with_key(viewer)).status_code == 403
    assert guarded.http.get("/jobs", **with_key(idle)).status_code == 200, "but never metrics"
    with guarded.database.transaction() as connection:
        keys.revoke(connection, revoked.prefix)
    time.sleep(known_for_s)
    assert asked(guarded, **with_key(revoked)).status_code == 401, "and was forgotten thereby"
    with away(database_url):
        time.sleep(known_for_s)
        for key in (viewer, revoked, idle, new_key()):
            problem_of(asked(guarded, **with_key(key)), 503)
        problem_of(asked(guarded), 401)
        mixed = f"cst_{admin.prefix}_{revoked.text.split('_', 2)[2]}"
        problem_of(asked(guarded, headers={"Authorization": f"Bearer {mixed}"}), 503)
        assert asked(guarded, **with_key(admin)).status_code == 200
