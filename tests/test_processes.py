"""Several processes share the tests by whole files, and stacks one after the other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import place_of, room_of, unit_of

CHECKOUT = Path(__file__).parent.parent
HOOKS = ("pytest_xdist_make_scheduler", "pytest_collection_modifyitems")
SIX = """
import time, pytest

@pytest.mark.parametrize("n", range(6))
def test_one(n):
    time.sleep(0.05)
"""
RAN = re.compile(r"\[(gw\d)\] .*PASSED (tests/\S+?)::")


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/geo/test_aoi.py::test_it", "tests/geo/test_aoi.py"),
        ("tests/geo/test_aoi.py::test_it[a::b/c]", "tests/geo/test_aoi.py"),
        ("tests/test_cli.py::test_it", "tests/test_cli.py"),
        ("tests/web/test_sign_in.py::test_it", "stacks"),
        ("tests/e2e/test_chaos.py::test_it", "stacks"),
    ],
)
def test_a_unit_is_a_file_or_all_stacks(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid) == unit


def test_a_test_outside_of_every_room_has_its_file_for_one() -> None:
    assert room_of("tests/test_cli.py::test_it") == "test_cli.py"


def test_stacks_come_first_then_what_runs_engines_then_the_rest() -> None:
    rooms = ("demo", "web", "worker", "assets", "inference", "geo")
    places = [place_of(f"tests/{room}/test_it.py::test_it") for room in rooms]
    assert places == sorted(set(places))
    assert place_of("tests/test_cli.py::test_it") == places[-1]


def test_each_file_runs_in_one_process(tmp_path: Path) -> None:
    for file in ("geo/test_a.py", "lake/test_b.py", "stack/test_c.py", "web/test_d.py"):
        path = tmp_path / "tests" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SIX)
    hooks = "\n".join(f"from tests.conftest import {hook}" for hook in HOOKS)
    (tmp_path / "conftest.py").write_text(hooks)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    command = [sys.executable, "-m", "pytest", "-n", "2", "-v", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = RAN.findall(done.stdout)
    assert len(ran) == 24
    processes = {file: {process for process, of in ran if of == file} for _, file in ran}
    assert all(len(where) == 1 for where in processes.values()), processes
    assert processes["tests/stack/test_c.py"] == processes["tests/web/test_d.py"]
    assert processes["tests/geo/test_a.py"] != processes["tests/stack/test_c.py"]
