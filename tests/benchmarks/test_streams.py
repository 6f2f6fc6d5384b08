"""The benchmark of the streams sees what is lost, doubled, out of order or late."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.streams.figures import Heard, heard
from benchmarks.streams.plan import Plan
from benchmarks.streams.readers import frame_in

IDS = [11, 12, 14, 17]
COMMITTED_AT = [1.0, 1.0, 2.0, 3.0]


def told(
    path: Path,
    *readers: list[tuple[list[int], float]],
    away: list[tuple[float, float]] = (),  # type: ignore[assignment]
) -> Heard:
    """What readers of these frames - ids and instant of each - are found to have heard."""
    frames = [frame for reader in readers for frame in reader]
    np.savez(
        path / "told.npz",
        frames=np.arange(len(frames), dtype=np.int32),
        arrivals=np.array([at for _, at in frames]),
        counts=np.array([len(reader) for reader in readers]),
        ids=np.array([id for ids, _ in frames for id in ids], np.int64),
        ids_of=np.array([len(ids) for ids, _ in frames]),
        away=np.array(json.dumps([{"away": list(away)} for _ in readers])),
        cpu_s=np.array(0.5),
    )
    return heard(path / "told.npz", IDS, COMMITTED_AT)


def test_what_came_once_and_in_order_is_without_fault(tmp_path: Path) -> None:
    reader = [([11, 12], 1.25), ([14], 2.5), ([17], 3.75)]
    found = told(tmp_path, reader, reader)
    assert (found.missing, found.doubled, found.disordered) == (0, 0, 0)
    assert found.late_s.tolist() == [0.25, 0.25, 0.5, 0.75] * 2
    assert (found.delivered, found.frames, found.resumed) == (8, 6, 0)
    assert found.percentile_ms(50) == pytest.approx(375)


@pytest.mark.parametrize(
    ("frames", "faults"),
    [
        ([[11, 12], [17]], (1, 0, 0)),
        ([[11, 12], [12, 14], [17]], (0, 1, 0)),
        ([[11], [14], [12], [17]], (0, 0, 1)),
        ([], (4, 0, 0)),
    ],
)
def test_each_fault_is_found(
    tmp_path: Path, frames: list[list[int]], faults: tuple[int, int, int]
) -> None:
    whole = [([11, 12, 14, 17], 4.0)]
    found = told(tmp_path, whole, [(ids, 4.0) for ids in frames])
    assert (found.missing, found.doubled, found.disordered) == faults


def test_what_was_committed_while_a_reader_was_away_is_not_late(tmp_path: Path) -> None:
    reader = [([11, 12], 1.25), ([14], 2.75), ([17], 3.5)]
    found = told(tmp_path, reader, away=[(1.5, 2.75)])
    assert found.late_s.tolist() == [0.25, 0.25, 0.5]
    assert found.resumed == 1


def test_a_plan_commits_every_tile_in_turns() -> None:
    plan = Plan(sockets=1, events=100, per_s=250.0)
    commits = plan.commits
    assert sum(count for _, _, count in commits) == 100
    assert [run for _, run, _ in commits[:5]] == [0, 1, 2, 3, 0]
    assert commits[4][0] == pytest.approx(0.2, abs=0.01)
    assert len(Plan(1, 100, 250.0, singly=True).commits) == 100


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_a_frame_is_read_once_it_is_whole(length: int) -> None:
    size = (
        bytes((length,))
        if length < 126
        else b"\x7e" + length.to_bytes(2, "big")
        if length < 2**16
        else b"\x7f" + length.to_bytes(8, "big")
    )
    frame = b"\x81" + size + b"x" * length
    assert frame_in(frame[:-1]) is None
    assert frame_in(frame + b"\x81") == (1, 1 + len(size), len(frame))
