import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of a fresh clone as the set-up looks at before it installs anything."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "scripts" / "setup", tmp_path / "scripts" / "setup")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    return tmp_path


def set_up(clone: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [clone / "scripts" / "setup"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_will_not_do_is_refused(clone: Path) -> None:
    done = set_up(clone, CONSTELLATION_PYTHON="/bin/false")
    assert done.returncode == 1
    assert done.stderr == (
        "error: CONSTELLATION_PYTHON=/bin/false is not a Python 3.11 to 3.13 with venv\n"
    )
    assert not (clone / ".venv").exists()


def test_without_a_python_it_says_what_to_install(clone: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "env", "cat", "cksum", "dirname", "grep"):
        (programs / name).symlink_to(str(shutil.which(name)))
    done = set_up(clone, PATH=str(programs))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Python 3.11 to 3.13 with venv was found: install one")
    assert done.stderr.count("\n") == 1


def test_without_postgres_and_root_it_says_what_to_install(clone: Path, tmp_path: Path) -> None:
    pretend_to_be_installed(clone)
    programs = tmp_path / "programs"
    programs.mkdir()
    program(programs / "id", "echo 1000")
    program(programs / "sudo", "exit 1")
    path = f"{programs}:{os.environ['PATH']}"
    done = set_up(clone, PATH=path, CONSTELLATION_POSTGRES_BIN=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no PostgreSQL server programs were found: install")
    assert done.stderr.count("\n") == 1


def test_with_a_named_database_no_postgres_is_looked_for(clone: Path, tmp_path: Path) -> None:
    pretend_to_be_installed(clone)
    done = set_up(
        clone,
        CONSTELLATION_POSTGRES_BIN=str(tmp_path),
        CONSTELLATION_DATABASE_URL="postgresql://db/eo",
    )
    assert (done.returncode, done.stderr) == (0, "")


def pretend_to_be_installed(clone: Path) -> None:
    """Give the clone a virtual environment that lets this checkout's package pass for its own."""
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "constellation_pipelines").symlink_to(CHECKOUT / "constellation_pipelines")
    program(
        clone / ".venv" / "bin" / "python",
        f'[ "$1 $2" = "-m pip" ] && exit 9\n'
        f'PYTHONPATH="{clone}:{CHECKOUT}" exec "{sys.executable}" "$@"',
    )
    (clone / ".venv" / "bin" / "activate").write_text(f"VIRTUAL_ENV={clone}/.venv\n")
    parts = "pwd && cat pyproject.toml constraints.txt scripts/setup"
    stamp = subprocess.run(
        ["bash", "-c", f"{{ {parts}; }} | cksum"], cwd=clone, capture_output=True, check=True
    )
    (clone / ".venv" / ".setup-stamp").write_bytes(stamp.stdout)


@pytest.mark.parametrize(
    ("cores", "memory_mb", "processes"),
    [(2, 8_192, 2), (64, 262_144, 2), (1, 8_192, 0), (2, 4_096, 0), (16, 0, 0)],
)
def test_tests_run_in_two_processes_only_where_there_is_room(
    cores: int, memory_mb: int, processes: int
) -> None:
    command = [str(CHECKOUT / "scripts" / "test-workers"), str(cores), str(memory_mb * 1024)]
    assert int(subprocess.check_output(command, timeout=60)) == processes


def test_the_room_is_found_out_where_it_is_not_told() -> None:
    command = [str(CHECKOUT / "scripts" / "test-workers")]
    assert int(subprocess.check_output(command, timeout=60)) in (0, 2)


def test_without_the_generator_of_clients_tests_go_on_and_clients_do_not(clone: Path) -> None:
    shutil.copy(CHECKOUT / "scripts" / "clients", clone / "scripts" / "clients")
    (clone / ".venv" / "bin").mkdir(parents=True)
    program(clone / ".venv" / "bin" / "python", "exit 9")
    for arguments, code, said in (
        (["--prepare"], 0, "the clients' test is skipped"),
        ([], 1, "error: the generator could not be installed"),
    ):
        done = subprocess.run(
            [clone / "scripts" / "clients", *arguments], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert not (clone / ".venv-clients" / ".stamp").exists()
