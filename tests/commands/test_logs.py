"""`constellation jobs logs`, `samples` and `usage` against a real API with NATS."""

import json
import threading
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from tests.api.service import Service, relaying, save_model, serving
from tests.api.test_gpus import device, sample, tell, until_told
from tests.api.test_logs import finish, lines, say
from tests.commands.test_nouns import Command, as_json, submitted
from tests.commands.test_nouns import constellation as constellation
from tests.commands.test_nouns import scene as scene
from tests.conftest import PostgresServer, scratch_database


@pytest.fixture(scope="module")
def service(
    postgres: PostgresServer,
    template: str,
    nats_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), nats_url, tmp_path_factory.mktemp("logs")) as running,
        relaying(postgres.url_of(name), nats_url),
    ):
        save_model(running.database)
        yield running


@pytest.fixture
def job(constellation: Command, scene: str) -> str:
    return str(submitted(constellation, scene)["id"])


def test_what_there_is_of_a_log_is_printed_and_the_command_ends(
    constellation: Command, nats_url: str, job: str
) -> None:
    assert constellation("jobs", "logs", job) == (0, "", "")
    say(nats_url, UUID(job), 0, 3)
    code, out, _ = constellation("jobs", "logs", job)
    assert code == 0
    assert [line.split(" ", 3)[3] for line in out.splitlines()] == lines(0, 3)


def test_a_followed_log_goes_on_to_the_end_of_its_job(
    service: Service, constellation: Command, nats_url: str, job: str
) -> None:
    say(nats_url, UUID(job), 0, 2)

    def go_on() -> None:
        say(nats_url, UUID(job), 2, 3)
        finish(service, UUID(job))

    later = threading.Timer(1, go_on)
    later.start()
    code, out, _ = constellation("jobs", "logs", "-f", "--json", job)
    later.join()
    assert code == 0
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["payload"]["text"] for one in told] == lines(0, 5)
    assert {one["job_id"] for one in told} == {job}


def test_the_log_of_no_job_is_one_clear_line(constellation: Command) -> None:
    code, out, err = constellation("jobs", "logs", str(uuid4()))
    assert (code, out) == (1, "")
    assert err.startswith("error: there is no job")
    assert err.count("\n") == 1


def test_what_a_device_did_is_listed_by_its_name_and_its_uuid(
    service: Service, constellation: Command, nats_url: str
) -> None:
    uuid = device(service.database)
    assert "no sample in that time" in constellation("samples", uuid)[1]
    tell(nats_url, [sample(uuid, age_s=2), sample(uuid)])
    until_told(service, uuid)
    found = as_json(constellation("samples", uuid, "--json"))
    assert len(found["items"]) == 2
    for name in (uuid, "h/0", "0"):
        assert constellation("samples", name)[1].count("212.5") == 2
    _, out, _ = constellation("gpus")
    assert ["h/0", "800", "61", "212"] == [one for one in out.split() if one in WANTED]
    for name in ("nowhere", "h/1", "1"):
        code, _, err = constellation("samples", name)
        assert (code, err) == (
            1,
            f"error: there is no GPU {name!r}; `constellation gpus` shows them\n",
        )
    device(service.database)
    code, _, err = constellation("samples", "0")
    assert (code, err) == (1, "error: which GPU is meant? There are h/0, h/0\n")


WANTED = {"h/0", "800", "61", "212"}  # its name, memory, temperature and power


def test_usage_is_told_with_its_sum_and_in_ranks(constellation: Command) -> None:
    found = as_json(constellation("usage", "--json"))
    assert (found["account"], found["total"]["tiles"]) == ("local", 0)
    assert "GPU SECONDS" in constellation("usage", "--by", "day")[1]
    head = "day,model,gpu_s,energy_j,tiles,area_km2"
    assert constellation("usage", "--csv")[1].splitlines() == [head]
    assert constellation("usage", "nobody", "--csv")[0] == 1
    code, _, err = constellation("usage", "--csv", "--leaderboard")
    assert (code, err.count("\n")) == (1, 1)
    assert as_json(constellation("usage", "--leaderboard", "--json"))["items"] == []
    assert "nothing was used" in constellation("usage", "--leaderboard")[1]
    code, _, err = constellation("usage", "--first", "2026-03-02", "--last", "2026-03-01")
    assert (code, err) == (1, "error: first_day is after last_day\n")
    assert constellation("usage", "nobody")[0] == 1
