"""A worker's folder for sockets does not outlive the worker for long."""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation_pipelines.worker.scratch import scratch_folder

HOLD = """
import time
from constellation_pipelines.worker.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="scratch-", dir="/tmp") as name:
        monkeypatch.setattr("tempfile.tempdir", name)
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


@pytest.fixture
def worker() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as made:
        yield made
        made.kill()


def folder_of(worker: "subprocess.Popen[str]") -> Path:
    assert worker.stdout is not None
    return Path(worker.stdout.readline().strip())


def test_it_is_gone_when_the_worker_ends(temp: Path) -> None:
    with scratch_folder() as folder:
        (folder / "0.sock").touch()
        assert folder.parent == temp
    assert list(temp.iterdir()) == []


def test_that_of_a_killed_worker_is_removed_by_the_next(
    temp: Path, worker: "subprocess.Popen[str]"
) -> None:
    left = folder_of(worker)
    (left / "0.sock").touch()
    worker.kill()
    worker.wait()
    assert left.exists()
    with scratch_folder() as folder:
        assert list(temp.iterdir()) == [folder]


def test_that_of_a_living_worker_is_left_alone(worker: "subprocess.Popen[str]") -> None:
    living = folder_of(worker)
    with scratch_folder():
        assert living.exists()
    assert living.exists()


def test_what_is_not_known_to_be_abandoned_stays(temp: Path) -> None:
    unknown = temp / "constellation-worker-x"
    unknown.mkdir()
    with scratch_folder():
        pass
    assert unknown.exists()


def test_sockets_fit_into_it_however_long_the_path_of_temporary_files_is(
    temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for depth in (1, 2, 60, 150):
        long = temp / ("x" * depth)
        long.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(long))
        with scratch_folder() as folder, socket.socket(socket.AF_UNIX) as engine:
            engine.bind(str(folder / "999.sock"))
            assert (folder.parent == long) == (depth < 60)
        assert not folder.exists()
