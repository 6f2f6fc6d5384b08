"""A simulated device that is told to fail, seen through its engine's socket."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.inference.engine import EX_DEVICE_LOST
from constellation_pipelines.inference.protocol import PredictOrder
from tests.inference.conftest import OrderFactory, RunningEngine, start_engine

WAIT_S = 60.0
SCENE = "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif"


@pytest.fixture
def asked(sample_data: Path, order: OrderFactory) -> PredictOrder:
    """A real scene in 15 tiles of 512 px."""
    return order(sample_data / "scenes" / SCENE)


@dataclass(frozen=True)
class Simulated:
    """An engine of device 0, and the file that tells it to fail."""

    engine: RunningEngine
    file: Path

    def tell(self, **script: Any) -> None:
        """Write device 0's script; without any, it does nothing wrong."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps({"devices": {"0": script}}))
        draft.replace(self.file)

    @property
    def client(self) -> EngineClient:
        return self.engine.client


@contextmanager
def simulated(folder: Path) -> Iterator[Simulated]:
    file = folder / "simulation.json"
    running = start_engine(folder, file)
    yield Simulated(running, file)
    running.process.kill()
    running.process.wait()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulated(tmp_path_factory.mktemp("simulated")) as opened:
        yield opened


@pytest.fixture
def device(shared: Simulated) -> Iterator[Simulated]:
    """A device for tests after which its engine is as it was."""
    yield shared
    shared.tell()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Simulated]:
    """A device for tests that end its engine, or teach it a smaller batch."""
    with simulated(tmp_path) as opened:
        yield opened


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_batch_without_room_is_halved_until_it_has_and_the_size_is_told(
    fresh: Simulated, asked: PredictOrder, order: OrderFactory
) -> None:
    plenty = list(fresh.client.predict(asked))
    client = fresh.client
    fresh.tell(memory_mb=245)  # 200 of context, 11 of weights, 3 for each chip
    heard: list[dict[str, Any]] = []
    small = order(Path(asked.uri), name="small")
    assert len(list(client.predict(small, heard.append))) == len(plenty)
    halved = [line["halved"] for line in heard if "halved" in line]
    assert all(one["refused"] == 2 * one["batch"] for one in halved)
    assert [one["batch"] for one in halved][-2:] == [16, 8]
    assert client.summary["batch"] == 8
    before, after = ((Path(one.work) / "class.blocks").read_bytes() for one in (asked, small))
    assert before == after, "no chip's result depends on what is in its batch"

    heard.clear()
    list(client.predict(small, heard.append))
    assert not [line for line in heard if "halved" in line], "it is remembered"


def test_a_batch_that_was_asked_for_is_not_exceeded(device: Simulated, asked: PredictOrder) -> None:
    device.tell(memory_mb=216)  # room for one chip
    heard: list[dict[str, Any]] = []
    few = replace(asked, windows=asked.windows[:1], batch=1)
    (result,) = device.client.predict(few, heard.append)
    assert result.state is TileState.COMPLETED
    assert not [line for line in heard if "halved" in line]


def test_a_device_without_room_for_one_chip_refuses_and_lives_on(
    fresh: Simulated, asked: PredictOrder
) -> None:
    fresh.tell(memory_mb=100)
    with pytest.raises(EngineFailed, match="no room") as refusal:
        list(fresh.client.predict(asked))
    assert refusal.value.code == "out_of_memory"
    fresh.tell()
    few = replace(asked, windows=asked.windows[:2])
    assert len(list(fresh.client.predict(few))) == 2


def test_the_memory_it_reports_is_declared_and_says_so(
    device: Simulated, asked: PredictOrder
) -> None:
    client = device.client
    list(client.predict(asked))
    assert 380 < client.summary["mem_mb"] < 450  # 200 + weights + a batch of 64 chips of 3 MB
    assert client.summary["mem_simulated"] is True


def test_a_batch_that_hangs_is_seen_in_the_answer_to_a_ping(
    device: Simulated, asked: PredictOrder
) -> None:
    client = device.client
    assert client.ping() == {"busy": False, "batch_s": None}
    device.tell(hang="batch")
    thread = threading.Thread(target=lambda: list(client.predict(asked)))
    thread.start()
    eventually(lambda: (client.ping()["batch_s"] or 0) > 0.5)
    assert client.ping()["busy"]
    device.tell()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_process_that_stops_answers_no_ping(device: Simulated, asked: PredictOrder) -> None:
    device.tell(hang="process")
    few = replace(asked, windows=asked.windows[:1])
    thread = threading.Thread(target=lambda: list(device.client.predict(few)))
    thread.start()
    eventually(lambda: stopped(device.engine.process.pid))
    device.tell()
    os.kill(device.engine.process.pid, signal.SIGCONT)
    thread.join(WAIT_S)
    assert not device.client.ping()["busy"]


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_poison_tile_kills_the_engine_and_was_announced_before(
    fresh: Simulated, asked: PredictOrder
) -> None:
    poison = sorted(asked.windows)[4]
    fresh.tell(poison_tiles=[[poison.row_off_px, poison.col_off_px]])
    computing: list[list[Window]] = []

    def hear(line: dict[str, Any]) -> None:
        if "computing" in line:
            computing.append([Window(*window) for window in line["computing"]])

    done: list[TileResult] = []
    with pytest.raises(EngineFailed) as death:
        done.extend(fresh.client.predict(asked, hear))
    assert death.value.code == EngineFailed.code
    assert fresh.engine.process.wait() == -signal.SIGKILL
    assert poison in computing[-1]


def test_a_read_that_fails_a_few_times_works_after_that(
    device: Simulated, asked: PredictOrder
) -> None:
    bad = sorted(asked.windows)[1]
    device.tell(unreadable_tiles=[[bad.row_off_px, bad.col_off_px, 1]])
    few = replace(asked, windows=tuple(sorted(asked.windows)[:2]))
    first, second = (list(device.client.predict(few)) for _ in range(2))
    assert [result.state for result in first] == [TileState.COMPLETED, TileState.FAILED]
    assert first[1].error == "simulated: the tile cannot be read"
    assert [result.state for result in second] == [TileState.COMPLETED] * 2


def test_a_probe_is_clean_on_a_device_that_works(device: Simulated) -> None:
    answer = device.client.probe(WAIT_S)
    assert (answer["ok"], answer["reason"], answer["simulated"]) == (True, None, True)


def test_a_lost_device_fails_its_probe_and_ends_its_engine_at_the_next_batch(
    fresh: Simulated, asked: PredictOrder
) -> None:
    fresh.tell(lost=True)
    answer = fresh.client.probe(WAIT_S)
    assert not answer["ok"]
    assert "lost" in answer["reason"]
    with pytest.raises(EngineFailed) as death:
        list(fresh.client.predict(asked))
    assert death.value.code == EngineFailed.code
    assert fresh.engine.process.wait(WAIT_S) == EX_DEVICE_LOST


def test_batches_of_a_slow_device_take_longer(device: Simulated, asked: PredictOrder) -> None:
    device.tell(slow_ms=400)
    (result,) = device.client.predict(replace(asked, windows=asked.windows[:1]))
    assert result.infer_ms >= 400
