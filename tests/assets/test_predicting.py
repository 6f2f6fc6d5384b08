"""How results are gathered into commits."""

import time
from collections.abc import Iterator

from assets import predicting
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult, tile_digest
from constellation_pipelines.domain.window import Window


def results(count: int, pause_s: float = 0) -> Iterator[TileResult]:
    for index in range(count):
        time.sleep(pause_s)
        yield TileResult(Window(0, index, 1, 1), TileState.COMPLETED)


def test_the_first_result_is_committed_at_once() -> None:
    first = next(predicting.in_batches(results(1000)))
    assert len(first) == 1


def test_no_result_is_lost_and_none_comes_twice() -> None:
    batches = list(predicting.in_batches(results(500)))
    columns = [result.window.col_off_px for batch in batches for result in batch]
    assert columns == list(range(500))
    assert max(len(batch) for batch in batches) <= predicting.COMMIT_TILES


def test_slow_results_do_not_wait_for_company() -> None:
    batches = list(predicting.in_batches(results(3, pause_s=predicting.COMMIT_S + 0.05)))
    assert [len(batch) for batch in batches] == [1, 1, 1]


def test_no_results_make_no_commit() -> None:
    assert list(predicting.in_batches(results(0))) == []


def test_a_tile_is_named_by_all_that_decides_its_result() -> None:
    window = Window(0, 512, 512, 256)
    names = {
        tile_digest("scene", "model", window),
        tile_digest("other", "model", window),
        tile_digest("scene", "other", window),
        tile_digest("scene", "model", Window(512, 0, 512, 256)),
        tile_digest("scene", "model", Window(0, 512, 256, 512)),
    }
    assert len(names) == 5
    assert tile_digest("scene", "model", window) in names
