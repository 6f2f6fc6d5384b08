"""How results are gathered into commits, and how long a failed tile waits."""

from uuid import UUID

import pytest

from assets.crew import Hand, Result
from assets.predicting import COMMIT_S, COMMIT_TILES, Gathering, pause_s, tiles_in_words
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult, tile_digest
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.store.profiles import Known, Profile

HAND = Hand(Known(UUID(int=1), "SIM-0", "Simulated", True, Profile()), EngineClient("/nowhere"))


def result(column: int) -> Result:
    return Result(HAND, TileResult(Window(0, column, 1, 1), TileState.COMPLETED))


def test_the_first_result_is_committed_at_once() -> None:
    gathering = Gathering()
    assert gathering.wait_s(1000.0) is None
    gathering.results.append(result(0))
    assert gathering.wait_s(1000.0) == 0


def test_later_results_wait_for_company_but_not_for_long() -> None:
    gathering = Gathering(committed_at=1000.0)
    gathering.results.append(result(0))
    assert gathering.wait_s(1000.0) == pytest.approx(COMMIT_S)
    assert gathering.wait_s(1000.0 + 2 * COMMIT_S) == 0


def test_many_results_do_not_wait() -> None:
    gathering = Gathering(committed_at=1000.0)
    gathering.results += [result(column) for column in range(COMMIT_TILES)]
    assert gathering.wait_s(1000.0) == 0


def test_no_result_is_lost_and_none_comes_twice() -> None:
    gathering = Gathering()
    gathering.results += [result(0), result(1)]
    assert [one.tile.window.col_off_px for one in gathering.take(5.0)] == [0, 1]
    assert gathering.take(6.0) == []


def test_pauses_grow_and_are_never_in_step() -> None:
    first, second = ({pause_s(attempts) for _ in range(50)} for attempts in (1, 2))
    assert 0.125 <= min(first) < max(first) <= 0.375
    assert 0.25 <= min(second) < max(second) <= 0.75
    assert len(first) > 40


def test_tiles_are_named_by_their_place_or_counted() -> None:
    assert tiles_in_words([Window(0, 512, 1, 1)]) == "tile at row 0, column 512"
    assert tiles_in_words([Window(0, 0, 1, 1), Window(0, 1, 1, 1)]) == "2 tiles"


def test_a_tile_is_named_by_all_that_decides_its_result() -> None:
    window = Window(0, 512, 512, 256)
    names = {
        tile_digest("scene", "model", window, "local"),
        tile_digest("other", "model", window, "local"),
        tile_digest("scene", "other", window, "local"),
        tile_digest("scene", "model", Window(512, 0, 512, 256), "local"),
        tile_digest("scene", "model", Window(0, 512, 256, 512), "local"),
    }
    assert len(names) == 5
    assert tile_digest("scene", "model", window, "local") in names
