"""Engines that hang, die or stand on a bad device: real processes on a simulated device."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.simulation import SimulationFile
from constellation_pipelines.gpu.simulated import SimulatedDoor
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.worker.engines import Change, ChangeKind, Engines, Patience
from constellation_pipelines.worker.pulse import Pulse

WAIT_S = 90.0
PATIENCE = Patience(hang_s=60.0, cool_down_s=0.2)  # an engine beside busy neighbours is slow
HURRY = Patience(hang_s=2.0, cool_down_s=0.2)


class Host:
    """One simulated device, its engine and the file that tells it to fail."""

    def __init__(self, folder: Path, patience: Patience = PATIENCE) -> None:
        self.file = folder / "simulation.json"
        self.door = SimulatedDoor("host", 1, SimulationFile(self.file))
        (self.device,) = self.door.devices()
        self.engines = Engines([self.device], folder, [], self.door, self.file, patience)
        self.client = EngineClient(folder / "0.sock")
        self.changes: list[Change] = []
        self.ready = False
        self._serials = itertools.count(1)

    def tell(self, **script: Any) -> None:
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps({"devices": {"0": script}}))
        draft.replace(self.file)

    def until(self, enough: Callable[[], bool]) -> None:
        """Tick until it is enough. No tick may take long: the supervisor's loop waits for it."""
        deadline = time.monotonic() + WAIT_S
        while not enough():
            assert time.monotonic() < deadline, self.changes
            for change in self.engines.tick():
                self.changes.append(change)
                if change.kind in (ChangeKind.READY, ChangeKind.GONE):
                    self.ready = change.kind is ChangeKind.READY
            time.sleep(0.02)

    def befall(self, xid: int) -> None:
        """The driver reports an event of this number."""
        self.tell(xids=[{"serial": next(self._serials), "number": xid}])

    def kinds(self) -> list[ChangeKind]:
        return [change.kind for change in self.changes]

    def until_hung(self) -> None:
        """Wait for a hang in a hurry; whatever comes after it has time again."""
        self.engines._patience = HURRY
        self.until_kind(ChangeKind.HUNG)
        self.engines._patience = PATIENCE

    def until_kind(self, kind: ChangeKind, times: int = 1) -> None:
        self.until(lambda: self.kinds().count(kind) >= times)

    @property
    def pid(self) -> int:
        return int(self.client.hello()["pid"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One for all tests, because an engine takes seconds to load torch."""
    made = Host(tmp_path_factory.mktemp("host"))
    yield made
    made.engines.stop()


@pytest.fixture
def host(shared: Host) -> Host:
    """Its engine is ready, nothing is wrong with the device, and nothing has happened yet."""
    shared.tell()
    shared.until(lambda: shared.ready)
    shared.changes.clear()
    return shared


def ask_probe(host: Host) -> threading.Thread:
    """Keep the device busy from another thread; what becomes of the answer is of no interest."""

    def ask() -> None:
        with suppress(EngineFailed):
            host.client.probe(WAIT_S)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_a_batch_that_does_not_end_is_a_hang_its_engine_is_killed_and_another_started(
    host: Host,
) -> None:
    first = host.pid
    host.tell(hang="batch")
    asking = ask_probe(host)
    host.until_hung()
    host.tell()
    host.until_kind(ChangeKind.READY)
    asking.join(WAIT_S)
    assert host.kinds() == [ChangeKind.HUNG, ChangeKind.GONE, ChangeKind.READY]
    assert "a batch has not ended" in host.changes[0].message
    assert host.pid != first
    assert not psutil.pid_exists(first)


def test_a_stopped_engine_is_a_hang_and_dies_of_it(host: Host) -> None:
    first = host.pid
    os.kill(first, signal.SIGSTOP)
    host.until_hung()
    host.until_kind(ChangeKind.READY)
    assert host.kinds() == [ChangeKind.HUNG, ChangeKind.GONE, ChangeKind.READY]
    assert "no answer" in host.changes[0].message
    assert not psutil.pid_exists(first)


def test_an_engine_that_dies_is_started_again_without_a_word_of_hanging(host: Host) -> None:
    os.kill(host.pid, signal.SIGKILL)
    host.until_kind(ChangeKind.READY)
    assert host.kinds() == [ChangeKind.GONE, ChangeKind.READY]


def test_a_bad_device_is_set_aside_and_comes_back_with_a_fresh_engine_and_a_clean_probe(
    host: Host,
) -> None:
    first = host.pid
    host.befall(xid=79)
    host.until_kind(ChangeKind.READY)
    assert host.kinds() == [
        ChangeKind.GONE,
        ChangeKind.QUARANTINED,
        ChangeKind.READMITTED,
        ChangeKind.READY,
    ]
    assert host.changes[1].xid == 79
    assert "fallen off the bus" in host.changes[1].message
    assert host.pid != first


def test_a_lost_device_stays_aside_while_its_probe_fails(host: Host) -> None:
    host.tell(lost=True)
    host.until_kind(ChangeKind.PROBE_FAILED, times=2)
    assert ChangeKind.READMITTED not in host.kinds()
    assert "lost" in host.changes[-1].message
    host.tell()
    host.until_kind(ChangeKind.READMITTED)
    host.until_kind(ChangeKind.READY)


def test_a_probe_that_hangs_keeps_the_device_aside(tmp_path: Path) -> None:
    host = Host(tmp_path, HURRY)
    host.engines.set_aside(host.device.uuid)
    host.tell(hang="batch")
    try:
        host.until_kind(ChangeKind.PROBE_FAILED)
        assert host.kinds() == [ChangeKind.PROBE_FAILED]
        host.engines._patience = PATIENCE
        host.tell()
        host.until_kind(ChangeKind.READY)
    finally:
        host.engines.stop()
    assert host.kinds() == [ChangeKind.PROBE_FAILED, ChangeKind.READMITTED, ChangeKind.READY]


@pytest.mark.parametrize("number", [13, 31, 119])
def test_other_events_are_told_and_the_engine_works_on(host: Host, number: int) -> None:
    host.befall(xid=number)
    host.until_kind(ChangeKind.XID)
    (change,) = host.changes
    assert (change.uuid, change.xid) == (host.device.uuid, number)


def test_each_pause_before_a_probe_is_twice_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, Patience(cool_down_s=60.0))
    now = time.monotonic()
    (engine,) = host.engines._engines.values()
    pauses = []
    for _ in range(8):
        host.engines.set_aside(host.device.uuid)
        pauses.append(round(engine.start_at - now, -1))
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]


LISTENER = """
import socket, sys, time
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1]); listener.listen(1); print("up", flush=True); time.sleep(600)
"""


def test_a_question_to_one_who_never_answers_costs_no_time(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    silent = subprocess.Popen([sys.executable, "-c", LISTENER, str(path)], stdout=subprocess.PIPE)
    assert silent.stdout is not None
    silent.stdout.readline()
    try:
        pulses = [Pulse(path) for _ in range(8)]  # more than its queue of connections takes
        began = time.monotonic()
        for pulse in pulses:
            pulse.ask("ping")
            assert pulse.answer() is None
        assert time.monotonic() - began < 30  # 5 s for each, if it waited
        time.sleep(0.01)
        assert all(pulse.unanswered_s > 0 for pulse in pulses)
        for pulse in pulses:
            pulse.forget()
    finally:
        silent.kill()
        silent.communicate()


def test_where_nobody_listens_no_question_is_open(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "none.sock")
    pulse.ask("ping")
    assert (pulse.open, pulse.answer(), pulse.unanswered_s) == (False, None, 0.0)
