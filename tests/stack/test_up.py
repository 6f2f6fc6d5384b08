import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from constellation_pipelines.domain.simulation import Simulation, parse
from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import lock, ports, status
from constellation_pipelines.stack.account import forget_folders
from constellation_pipelines.stack.process import ProcessId, marked
from constellation_pipelines.stack.status import StackStatus
from constellation_pipelines.stack.up import make_simulation_file, stop_stack
from constellation_pipelines.stack.waiting import wait_until

PATIENCE_S = 60.0
CHECKOUT = Path(__file__).parents[2]


class Stack:
    """A stack in a process of its own, as a person starts it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.up = start(data_dir)
        wait_until(lambda: self.up.poll() is not None or self._is_ready(), PATIENCE_S)
        assert self.up.poll() is None, self.up.communicate()
        ready = status.read(data_dir)
        assert ready is not None
        self.status: StackStatus = ready

    def _is_ready(self) -> bool:
        now = status.read(self.data_dir)
        return now is not None and now.ready and now.process.pid == self.up.pid

    @property
    def processes(self) -> dict[str, ProcessId]:
        now = status.read(self.data_dir)
        assert now is not None
        return {each.name: each.process for each in now.services if each.process}

    @property
    def nats_home(self) -> Path:
        note = self.data_dir / "nats" / "server.path"
        return Path(note.read_text().strip()) if note.exists() else note.with_suffix("")

    @property
    def survivors(self) -> list[ProcessId]:
        services = [each.process for each in self.status.services if each.process]
        return [process for process in services if process.is_alive] + marked(self.status.stack_id)


def start(data_dir: Path, **settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stack.small_stack"],
        env={**os.environ, "CONSTELLATION_DATA_DIR": str(data_dir), **settings},
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Callable[[], Stack]]:
    made = []

    def make() -> Stack:
        made.append(Stack(tmp_path / "data"))
        return made[-1]

    yield make
    for each in made:
        each.up.kill()
        each.up.communicate()
        stop_stack(each.data_dir)
        forget_folders(each.data_dir)


def test_down_leaves_nothing_running(stack: Callable[[], Stack]) -> None:
    running = stack()
    assert set(running.processes) == {"postgres", "nats", "web", "parent"}
    assert running.status.all_up
    assert stop_stack(running.data_dir)
    assert running.up.wait(PATIENCE_S) == 0
    assert running.survivors == []
    assert not lock.is_held(running.data_dir)
    assert status.read(running.data_dir) is None
    assert not stop_stack(running.data_dir)


def test_ctrl_c_does_the_same(stack: Callable[[], Stack]) -> None:
    running = stack()
    running.up.send_signal(signal.SIGINT)
    running.up.send_signal(signal.SIGINT)  # an impatient second one changes nothing
    said, complaints = running.up.communicate(timeout=PATIENCE_S)
    assert running.up.returncode == 0
    assert complaints == ""
    assert "ready\n  dashboard  http://127.0.0.1:" in said
    assert running.survivors == []


def test_a_second_up_is_refused_and_the_first_goes_on(stack: Callable[[], Stack]) -> None:
    running = stack()
    _, complaint = start(running.data_dir).communicate(timeout=PATIENCE_S)
    assert complaint.startswith("error: constellation is already up in ")
    assert f"(process {running.up.pid})" in complaint
    assert complaint.count("\n") == 1
    assert all(process.is_alive for process in running.processes.values())


def test_killing_the_supervisor_leaves_no_service_running(stack: Callable[[], Stack]) -> None:
    running = stack()
    services = list(running.processes.values())
    running.up.kill()
    assert wait_until(lambda: not any(service.is_alive for service in services), PATIENCE_S)


def test_what_a_killed_service_left_behind_is_cleared_by_the_next_up(
    stack: Callable[[], Stack],
) -> None:
    killed = stack()
    killed.up.kill()
    assert wait_until(lambda: len(killed.survivors) == 1, PATIENCE_S)  # the child's child
    again = stack()
    assert killed.survivors == []
    assert again.status.stack_id != killed.status.stack_id


def test_a_crashed_service_comes_back(stack: Callable[[], Stack]) -> None:
    running = stack()
    before = running.processes["nats"]
    os.kill(before.pid, signal.SIGKILL)

    def is_back() -> bool:
        now = status.read(running.data_dir)
        return now is not None and now.all_up and running.processes["nats"] != before

    assert wait_until(is_back, PATIENCE_S)
    now = status.read(running.data_dir)
    assert now is not None
    assert {each.name: each.restarts for each in now.services}["nats"] == 1


def test_without_programs_nothing_is_started(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    up = start(tmp_path, CONSTELLATION_POSTGRES_BIN=str(programs))
    _, complaint = up.communicate(timeout=PATIENCE_S)
    assert up.returncode == 1
    assert complaint.startswith("error: no PostgreSQL server programs were found: install")
    assert not lock.is_held(tmp_path)
    forget_folders(tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_an_address_others_can_reach_is_refused(tmp_path: Path, host: str) -> None:
    up = start(tmp_path, CONSTELLATION_API_HOST=host)
    _, complaint = up.communicate(timeout=PATIENCE_S)
    assert complaint.startswith(f"error: CONSTELLATION_API_HOST={host} would open the API")
    assert complaint.count("\n") == 1


def test_a_port_that_was_asked_for_and_is_taken_is_refused(tmp_path: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind((ports.LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        up = start(tmp_path, CONSTELLATION_API_PORT=str(port))
        _, complaint = up.communicate(timeout=PATIENCE_S)
    assert complaint.startswith(f"error: CONSTELLATION_API_PORT={port} is taken")


def test_a_port_that_a_stack_has_chosen_and_does_not_listen_on_yet_is_refused(
    tmp_path: Path,
) -> None:
    chosen = ports.claim_any()
    up = start(tmp_path, CONSTELLATION_API_PORT=str(chosen.port))
    _, complaint = up.communicate(timeout=PATIENCE_S)
    assert complaint.startswith(f"error: CONSTELLATION_API_PORT={chosen.port} is taken")


def test_a_service_that_does_not_start_stops_the_others_and_says_why(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    stack = Stack(data_dir)
    assert stop_stack(data_dir)
    stack.up.communicate(timeout=PATIENCE_S)
    (stack.nats_home / "nats.conf").unlink()
    (stack.nats_home / "store" / "jetstream").rename(data_dir / "aside")
    (stack.nats_home / "store" / "jetstream").write_text("not a folder")
    said, complaint = start(data_dir).communicate(timeout=PATIENCE_S)
    assert complaint.startswith("error: nats did not start: ")
    assert str(data_dir / "logs" / "nats.log") in complaint
    assert "postgres" in said
    assert marked(stack.status.stack_id) == []
    assert status.read(data_dir) is None
    forget_folders(data_dir)


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _, complaint = start(tmp_path / "file" / "data").communicate(timeout=PATIENCE_S)
    assert complaint.startswith(f"error: CONSTELLATION_DATA_DIR={tmp_path}/file/data cannot be")
    assert complaint.count("\n") == 1


def test_a_file_to_tell_simulated_devices_to_fail_is_there_to_be_edited(tmp_path: Path) -> None:
    own = Settings(data_dir=tmp_path)
    make_simulation_file(own)
    assert parse(own.simulation_file.read_text()) == Simulation()
    own.simulation_file.write_text('{"devices": {"0": {"lost": true}}}')
    make_simulation_file(own)
    assert "lost" in own.simulation_file.read_text(), "it is the person's from then on"
    named = Settings(data_dir=tmp_path, simulation=tmp_path / "named.json")
    make_simulation_file(named)
    assert named.simulation_file == tmp_path / "named.json"
    assert named.simulation_file.exists()


def test_a_terminal_that_goes_away_does_not_keep_the_services_from_stopping(
    stack: Callable[[], Stack],
) -> None:
    running = stack()
    assert running.up.stdout is not None
    running.up.stdout.close()
    running.up.send_signal(signal.SIGHUP)
    running.up.wait(PATIENCE_S)
    assert running.survivors == []


def test_the_status_file_is_for_its_owner_and_survives_nonsense(tmp_path: Path) -> None:
    assert status.read(tmp_path) is None
    for text in ("", "{", "[]", '{"stack_id": 1}', json.dumps({"process": {"pid": 1}})):
        (tmp_path / status.FILE).write_text(text)
        assert status.read(tmp_path) is None
        assert status.read_running(tmp_path) is None
        assert not stop_stack(tmp_path)
