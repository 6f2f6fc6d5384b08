"""Every odd file of the sample data, and what becomes of it: no file is left without an answer."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.inference.computing import Computing
from constellation_pipelines.inference.predict import predict
from tests.inference.networks import CPU, card_of, network_of, order_of


@dataclass(frozen=True)
class Outcome:
    """Words of the refusal, or else tiles by state, parts of the footprint, and whether any chip
    has something to infer.
    """

    refused: str | None = None
    completed: int = 0
    failed: int = 0
    parts: int = 1
    chips: bool = True


OUTCOMES = {
    "all_nodata.tif": Outcome(completed=5, chips=False),
    "corrupt.tif": Outcome(completed=3, failed=1),
    "dateline_32660.tif": Outcome(completed=25, parts=2),
    "gcps_no_crs_s1.tif": Outcome(refused="ground control points only"),
}


def test_every_odd_file_is_named_here(sample_data: Path) -> None:
    assert {path.name for path in (sample_data / "odd").iterdir()} == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_odd_file_is_refused_or_comes_out_as_it_should(
    sample_data: Path, tmp_path: Path, model: Model, name: str
) -> None:
    path, expected = sample_data / "odd" / name, OUTCOMES[name]
    if expected.refused is not None:
        with pytest.raises(SceneRefused, match=expected.refused):
            describe_scene(path)
        return
    scene = describe_scene(path)
    assert len(scene.footprint["coordinates"]) == expected.parts
    network = network_of(card_of(model.card, Task.SCENE_CLASSIFICATION))
    order = order_of(path, tmp_path / "work")
    dtype = scene.bands[0].dtype
    order = replace(
        order,
        bands=tuple(Band(1, one, None, dtype, 1.0) for one in "ab"),
        windows=tuple(tile_windows(order.grid, network.card.tile_unit_px)),
    )
    device = Computing(CPU, lanes=1)
    results = list(predict(order, network, cancelled=lambda: False, device=device))
    states = Counter(result.state for result in results)
    assert states[TileState.COMPLETED] == expected.completed
    assert states[TileState.FAILED] == expected.failed == states.total() - expected.completed
    for result in results:
        assert (result.error is None) == (result.state is TileState.COMPLETED)
        if result.error is None:
            assert bool(result.class_counts) is expected.chips
