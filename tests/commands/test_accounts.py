"""`constellation accounts`, `keys` and `audit`, and the key that every command sends."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.cli import run
from constellation_pipelines.commands.keys import seconds
from constellation_pipelines.domain.errors import InvalidInput
from tests.api.service import Service, save_model, serving
from tests.conftest import PostgresServer, scratch_database

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def service(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server that wants to know who asks."""
    folder = tmp_path_factory.mktemp("accounts")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder, auth="required") as running,
    ):
        save_model(running.database)
        yield running


@pytest.fixture
def constellation(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Command:
    """Run the command; its exit code, what it printed, what it complained of."""
    monkeypatch.setenv("CONSTELLATION_API_URL", service.url)
    monkeypatch.setenv("CONSTELLATION_DATABASE_URL", service.database.url)
    monkeypatch.setenv("CONSTELLATION_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def as_json(result: tuple[int, str, str]) -> Any:
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def test_an_account_is_made_given_a_key_and_let_in(
    constellation: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = constellation("accounts", "create", "ann")
    assert (code, "constellation keys create ann" in out) == (0, True)
    code, _, err = constellation("jobs", "list")
    assert (code, "say who you are" in err, err.count("\n")) == (1, True, 1)
    code, key, err = constellation("keys", "create", "ann", "--scope", "viewer", "--name", "laptop")
    assert (code, key.startswith("cst_"), "not shown again" in err) == (0, True, True)
    monkeypatch.setenv("CONSTELLATION_API_KEY", key.strip())
    assert constellation("jobs", "list")[0] == 0
    code, _, err = constellation("audit")
    assert (code, "takes the scope admin, and yours is viewer" in err) == (1, True)
    _, out, _ = constellation("keys", "list", "--account", "ann")
    assert "laptop" in out
    assert key.strip() not in out


def test_an_account_exists_once_and_is_named_plainly(constellation: Command) -> None:
    assert constellation("accounts", "create", "ben")[0] == 0
    assert "an account ben already" in constellation("accounts", "create", "ben")[2]
    assert "cannot name an account" in constellation("accounts", "create", "a b")[2]
    assert "no account 'zoe'" in constellation("keys", "create", "zoe")[2]
    assert "no account 'zoe'" in constellation("accounts", "show", "zoe")[2]


def test_a_key_is_revoked_by_its_prefix_once(constellation: Command) -> None:
    made = as_json(constellation("keys", "create", "--scope", "admin", "--json"))
    assert made["account"] == "local"
    assert made["is_good"] is True
    code, out, _ = constellation("keys", "revoke", made["prefix"])
    assert (code, out) == (0, f"revoked key {made['prefix']}\n")
    assert "revoked already" in constellation("keys", "revoke", made["key"])[2]
    found = {key["prefix"]: key for key in as_json(constellation("keys", "list", "--json"))}
    assert found[made["prefix"]]["is_good"] is False
    assert "hash" not in found[made["prefix"]]
    assert "no key 'nothing'" in constellation("keys", "revoke", "nothing")[2]


@pytest.mark.parametrize(("text", "lasts_s"), [("1h", 3600), ("90d", 7_776_000), ("4w", 2_419_200)])
def test_how_long_a_key_lasts(text: str, lasts_s: float) -> None:
    assert seconds(text) == lasts_s


@pytest.mark.parametrize("text", ["", "0d", "90", "d", "-1d", "1.5h", "99999w", "1 d", "\u0663d"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--expires is"):
        seconds(text)


def test_a_key_that_expires_says_when(constellation: Command) -> None:
    made = as_json(constellation("keys", "create", "--expires", "2h", "--json"))
    assert made["expires_at"] > made["created_at"]


def test_a_saved_key_is_for_its_owner_only(constellation: Command, tmp_path: Path) -> None:
    code, out, err = constellation("keys", "create", "--save")
    assert code == 0
    assert (tmp_path / "api_key").read_text() == out
    assert (tmp_path / "api_key").stat().st_mode & 0o077 == 0
    assert str(tmp_path / "api_key") in err


def test_quotas_are_set_shown_and_lifted(constellation: Command) -> None:
    constellation("accounts", "create", "cleo")
    hours = ("--gpu-hours-per-month", "12.5")
    found = as_json(
        constellation("accounts", "set-quota", "cleo", "--running-runs", "4", *hours, "--json")
    )
    quota = {"running_runs": 4, "gpu_hours_per_month": 12.5, "km2_per_job": None}
    assert found["quota"] == quota
    found = as_json(
        constellation("accounts", "set-quota", "cleo", "--running-runs", "none", "--json")
    )
    assert found["quota"] == quota | {"running_runs": None}
    _, out, _ = constellation("accounts", "show", "cleo")
    assert "12.5" in out
    _, out, _ = constellation("accounts", "list")
    assert "cleo" in out


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--running-runs", "1.5"),
        ("--running-runs", "0"),
        ("--km2-per-job", "-3"),
        ("--km2-per-job", "nan"),
        ("--gpu-hours-per-month", "inf"),
        ("--gpu-hours-per-month", "many"),
    ],
)
def test_a_quota_that_is_no_number_is_refused(
    constellation: Command, options: tuple[str, ...]
) -> None:
    code, _, err = constellation("accounts", "set-quota", "local", *options)
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_what_was_done_is_in_the_audit(
    constellation: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    constellation("accounts", "create", "dora")
    made = as_json(constellation("keys", "create", "--scope", "admin", "--json"))
    monkeypatch.setenv("CONSTELLATION_API_KEY", made["key"])
    (found,) = as_json(constellation("audit", "--account", "dora", "--json"))
    assert (found["action"], found["object"]) == ("account.created", "dora")
    assert found["actor"].startswith("host:")
    _, out, _ = constellation("audit", "--action", "key.created")
    assert made["prefix"] in out
    assert made["key"] not in out


@pytest.mark.parametrize("key", ["a b", "a\nb", "\u00e4", "\x7f"])
def test_what_cannot_be_a_key_is_one_clear_line(
    constellation: Command, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("CONSTELLATION_API_KEY", key)
    code, _, err = constellation("jobs", "list")
    assert (code, err) == (
        1,
        "error: CONSTELLATION_API_KEY is not a key: it has the form cst_..._...\n",
    )
