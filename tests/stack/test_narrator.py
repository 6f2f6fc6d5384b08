from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from constellation_pipelines.stack.narrator import Narrator, age, status_table
from constellation_pipelines.stack.process import ProcessId, own_identity
from constellation_pipelines.stack.service import State
from constellation_pipelines.stack.status import ServiceStatus, StackStatus

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def service(name: str, state: State, process: ProcessId | None = None) -> ServiceStatus:
    since = NOW - timedelta(minutes=3)
    return ServiceStatus(name, state, process, since, 0, Path(f"/data/logs/{name}.log"), "here:1")


def stack(*services: ServiceStatus, ready: bool = False) -> StackStatus:
    urls = {"api": "http://a:1", "dashboard": "http://a:1/", "dagster": "http://d:2"}
    return StackStatus("id", own_identity(), NOW, ready, True, urls, services)


def test_each_thing_is_said_once() -> None:
    said: list[str] = []
    narrator = Narrator(said.append)
    for state in (State.WAITING, State.STARTING, State.READY, State.READY):
        narrator.hear(stack(service("api", state)))
    assert len(said) == 1
    assert said[0].split()[:2] == ["api", "ready"]
    up = stack(service("api", State.READY), ready=True)
    narrator.hear(up)
    narrator.hear(up)
    assert len(said) == 2
    assert said[1].startswith("ready\n  dashboard  http://a:1/")
    assert "simulated" in said[1]
    narrator.hear(replace(up, ready=False))
    assert said[2:] == ["stopping"]


def test_a_crash_names_the_log() -> None:
    said: list[str] = []
    Narrator(said.append).hear(stack(service("api", State.PAUSED)))
    assert "/data/logs/api.log" in said[0]


def test_a_process_that_has_gone_without_a_word_is_shown_as_gone() -> None:
    gone = service("api", State.READY, ProcessId(1, "another-boot:1"))
    here = service("nats", State.READY, own_identity())
    text = status_table(stack(gone, here, ready=True), NOW)
    api, nats = text.splitlines()[1:3]
    assert api.split()[:3] == ["api", "gone", "-"]
    assert nats.split()[:4] == ["nats", "ready", str(own_identity().pid), "3"]
    assert text.endswith("logs: /data/logs/<service>.log")
    assert not stack(gone, here, ready=True).all_up
    assert stack(here, ready=True).all_up


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s ago"), (59, "59 s ago"), (60, "1 m ago"), (7200, "2 h ago"), (172800, "2 d ago")],
)
def test_an_age_is_short(seconds: int, text: str) -> None:
    assert age(NOW, NOW - timedelta(seconds=seconds)) == text


def test_a_status_survives_the_way_through_json() -> None:
    before = stack(service("api", State.READY, own_identity()), service("nats", State.WAITING))
    assert StackStatus.from_json(before.as_json()) == before
