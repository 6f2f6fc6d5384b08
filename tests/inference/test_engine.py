"""The engine as a process, over its socket."""

import os
import signal
import socket
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.inference.protocol import VERSION, Lines, PredictOrder
from tests.inference.conftest import OrderFactory, RunningEngine, start_engine

SCENE = "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif"


def classes(order: PredictOrder) -> bytes:
    return (Path(order.work) / "class.blocks").read_bytes()


@pytest.fixture
def asked(sample_data: Path, order: OrderFactory) -> PredictOrder:
    """A real scene in 15 tiles of 512 px."""
    return order(sample_data / "scenes" / SCENE)


def wait_until_idle(client: EngineClient, seconds: float) -> None:
    """Until the device is free."""
    began = time.monotonic()
    while client.ping()["busy"]:
        assert time.monotonic() - began < seconds
        time.sleep(0.01)


def test_it_says_who_it_is(engine: RunningEngine) -> None:
    hello = engine.client.hello()
    assert hello["version"] == VERSION
    assert (hello["device"], hello["simulated"]) == ("SIM-1", True)
    assert hello["pid"] == engine.process.pid
    assert hello["torch"][0].isdigit()
    assert "eurosat-landcover@1" in hello["models"]


def test_only_its_owner_can_connect(engine: RunningEngine) -> None:
    assert stat.S_IMODE(engine.socket.stat().st_mode) == 0o600


def test_a_real_scene_comes_back_tile_by_tile(engine: RunningEngine, asked: PredictOrder) -> None:
    client = engine.client
    results = list(client.predict(asked))
    assert [result.window for result in results] == sorted(asked.windows)
    assert all(result.state is TileState.COMPLETED for result in results)
    assert all(sum(result.class_counts.values()) > 0 for result in results)
    summary = client.summary
    assert summary["tiles"] == 15
    assert summary["mem_mb"] > 50
    assert summary["mem_simulated"]
    assert 0 < summary["infer_ms"] <= summary["wall_ms"]


def test_the_first_tile_comes_before_the_last_is_done(
    engine: RunningEngine, asked: PredictOrder
) -> None:
    results = engine.client.predict(asked)
    next(results)
    assert engine.client.ping()["busy"]
    assert len(list(results)) == 14


def test_a_bad_block_costs_its_tile_only(
    engine: RunningEngine, sample_data: Path, order: OrderFactory
) -> None:
    results = list(engine.client.predict(order(sample_data / "odd" / "corrupt.tif")))
    assert [result.state for result in results].count(TileState.FAILED) == 1
    assert len(results) == 4


def test_closing_the_results_frees_the_device(engine: RunningEngine, asked: PredictOrder) -> None:
    results = engine.client.predict(asked)
    next(results)
    results.close()  # type: ignore[attr-defined]
    wait_until_idle(engine.client, seconds=60)


def test_a_client_that_leaves_is_forgotten_and_disturbs_nobody(
    engine: RunningEngine, asked: PredictOrder
) -> None:
    first = engine.client.predict(asked)
    next(first)
    with socket.socket(socket.AF_UNIX) as second:
        second.connect(str(engine.socket))
        lines = Lines(second)
        lines.send({"predict": asked.to_json(), "version": VERSION})
        assert lines.receive() is not None
    assert len(list(first)) == 14
    wait_until_idle(engine.client, seconds=60)


def test_two_runs_share_the_device_batch_by_batch(
    engine: RunningEngine, asked: PredictOrder, order: OrderFactory
) -> None:
    """Neither waits for the other's end: their results come in between each other's."""
    other = order(Path(asked.uri), name="other")
    came: list[str] = []

    def run(name: str, what: PredictOrder) -> None:
        came.extend(name for _ in engine.client.predict(what))

    threads = [threading.Thread(target=run, args=pair) for pair in (("a", asked), ("b", other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == ["a"] * 15 + ["b"] * 15
    assert came != sorted(came)
    assert came != sorted(came, reverse=True)
    assert classes(asked) == classes(other)


def test_a_digest_other_than_the_packages_is_refused(
    engine: RunningEngine, asked: PredictOrder
) -> None:
    with pytest.raises(EngineFailed, match="has changed") as refusal:
        list(engine.client.predict(replace(asked, model_digest="0" * 64)))
    assert refusal.value.code == "model_refused"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("model_folder", "/nowhere", "model_refused"),
        ("bands", (), "invalid_input"),
        ("work", "/dev/null/work", None),
        ("uri", "/nowhere.tif", None),
    ],
)
def test_an_order_that_cannot_be_met_is_refused_without_paths_or_traceback(
    engine: RunningEngine, asked: PredictOrder, field: str, value: object, code: str | None
) -> None:
    digest = "0" * 64 if field == "model_folder" else asked.model_digest
    with pytest.raises(EngineFailed) as refusal:
        list(engine.client.predict(replace(asked, model_digest=digest, **{field: value})))  # type: ignore[arg-type]
    assert refusal.value.code != EngineFailed.code  # trying again would not help
    assert code in (None, refusal.value.code)
    assert "/" not in refusal.value.message
    assert "Traceback" not in refusal.value.message
    assert not engine.client.ping()["busy"]


REQUESTS = [
    b"rubbish\n",
    b"[]\n",
    b'{"version": 1}\n',
    b'{"version": 1, "hello": {}}\n',
    b'{"hello": {}}\n',
    b'{"version": 1, "predict": 3}\n',
    b'{"version": 1, "predict": {}}\n',
    b'{"version": 1, "predict": {"grid": "x", "bands": 1, "windows": 2}}\n',
]


@pytest.mark.parametrize("request_line", REQUESTS)
def test_what_is_no_request_is_answered_with_an_error(
    engine: RunningEngine, request_line: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(engine.socket))
        connection.sendall(request_line)
        answer = Lines(connection).receive()
    assert answer is not None
    assert set(answer["error"]) == {"code", "message"}
    assert engine.client.hello()["version"] == VERSION


def test_a_socket_with_no_engine_behind_it_is_an_engine_that_may_return(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="does not answer") as failure:
        EngineClient(tmp_path / "none.sock").hello()
    assert failure.value.code == EngineFailed.code


def test_a_killed_engine_is_noticed_at_once_and_a_told_one_ends_cleanly(
    tmp_path: Path, asked: PredictOrder
) -> None:
    engine = start_engine(tmp_path)
    results = engine.client.predict(asked)
    next(results)
    os.kill(engine.process.pid, signal.SIGKILL)
    with pytest.raises(EngineFailed) as killed:
        list(results)  # would wait for ever
    assert killed.value.code == EngineFailed.code
    engine.process.wait()

    engine = start_engine(tmp_path)  # on the socket file that the killed one left behind
    assert len(list(engine.client.predict(asked))) == 15
    results = engine.client.predict(asked)
    next(results)
    assert engine.stop() == 0
    assert not engine.socket.exists()
    with pytest.raises(EngineFailed) as told:
        list(results)
    assert told.value.code == EngineFailed.code
