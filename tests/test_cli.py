import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from constellation_pipelines import cli
from constellation_pipelines.domain.errors import InvalidInput


def constellation(
    *arguments: str, data_dir: Path, **settings: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "constellation_pipelines.cli", *arguments],
        env={**os.environ, "CONSTELLATION_DATA_DIR": str(data_dir), **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    text = "import sys; from constellation_pipelines import cli; code = cli.run(['--help']);"
    heavy = "{'torch', 'rasterio', 'dagster', 'duckdb', 'geopandas', 'sqlalchemy', 'psycopg'}"
    text += f"print(code, sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    for command in ("up", "status", "down", "migrate", "api", "dispatcher", "worker", "scenes"):
        assert f" {command} " in done.stdout
    assert done.stdout.endswith("0 []\n")


def test_help_comes_at_once(tmp_path: Path) -> None:
    costs_s = []
    for _ in range(3):
        before_s = cpu_of_children_s()
        assert constellation("--help", data_dir=tmp_path).returncode == 0
        costs_s.append(cpu_of_children_s() - before_s)
    assert min(costs_s) < 1.0  # 0.3 s; of the processor, whatever else it has to do


def cpu_of_children_s() -> float:
    """Seconds of the processor that ended children of this process have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = constellation("--version", data_dir=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("constellation 0.")


def test_status_of_nothing_says_how_to_begin(tmp_path: Path) -> None:
    done = constellation("status", data_dir=tmp_path)
    assert done.returncode == 1
    assert done.stdout == f"nothing is up in {tmp_path}: start it with `constellation up`\n"
    as_json = constellation("status", "--json", data_dir=tmp_path)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout) == {"running": False, "data_dir": str(tmp_path)}


def test_down_of_nothing_is_no_failure(tmp_path: Path) -> None:
    done = constellation("down", data_dir=tmp_path / "never-made")
    assert (done.returncode, done.stdout) == (0, f"nothing was up in {tmp_path / 'never-made'}\n")
    assert not (tmp_path / "never-made").exists()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"CONSTELLATION_API_PORT": "web"}, "error: CONSTELLATION_API_PORT: "),
        ({"CONSTELLATION_API_PORT": "70000"}, "error: CONSTELLATION_API_PORT: "),
        ({"CONSTELLATION_SIMULATE_GPUS": "-1"}, "error: CONSTELLATION_SIMULATE_GPUS: "),
        ({"CONSTELLATION_DEVICE_SLOTS": "0"}, "error: CONSTELLATION_DEVICE_SLOTS: "),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    tmp_path: Path, settings: dict[str, str], complaint: str
) -> None:
    done = constellation("status", data_dir=tmp_path, **settings)
    assert done.returncode == 1
    assert done.stderr.startswith(complaint)
    assert done.stderr.count("\n") == 1


def test_without_a_database_migrate_says_what_to_do(tmp_path: Path) -> None:
    done = constellation("migrate", data_dir=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: no database: name one in CONSTELLATION_DATABASE_URL, or start `constellation up`\n"
    )


def test_migrate_prepares_a_named_database(tmp_path: Path, database_url: str) -> None:
    done = constellation("migrate", data_dir=tmp_path, CONSTELLATION_DATABASE_URL=database_url)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    done = constellation("launch-rocket", data_dir=tmp_path)
    assert done.returncode == 2
    assert "launch-rocket" in done.stderr


def test_a_known_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.fail("it went\n  wrong") == 1
    assert capsys.readouterr().err == "error: it went wrong\n"


def test_what_nobody_foresaw_is_one_line_and_a_private_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(cli, "make_app", broken)
    assert cli.run(["status"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    path = Path(said.split()[-1])
    assert "ZeroDivisionError: of all things" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    path.unlink()


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "make_app", broken)
    monkeypatch.setenv("CONSTELLATION_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.run([])


def test_an_error_of_ours_never_shows_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise InvalidInput("no such thing")

    monkeypatch.setattr(cli, "make_app", refused)
    monkeypatch.setenv("CONSTELLATION_DEBUG", "1")
    assert cli.run([]) == 1
    assert capsys.readouterr().err == "error: no such thing\n"
