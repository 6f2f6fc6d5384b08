"""Which networks stay on a device."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference.hot_models import HotModels, leaving
from constellation_pipelines.inference.network import CUDA_LANES, has_room, tuned_batch
from constellation_pipelines.inference.package import load_package
from tests.inference.conftest import PACKAGE

CPU = torch.device("cpu")
sizes = st.lists(st.floats(1, 100), max_size=8)


@given(sizes, st.floats(1, 100), st.floats(1, 300))
def test_the_oldest_go_until_the_new_one_has_room_and_no_more(
    held: list[float], new: float, budget: float
) -> None:
    gone = leaving(held, new, budget)
    assert sum(held[gone:]) + new <= budget + 1e-6 or gone == len(held)
    if gone:
        assert sum(held[gone - 1 :]) + new > budget - 1e-6


@pytest.fixture
def folders(tmp_path: Path, model: Model) -> list[tuple[str, Path]]:
    """Packages that differ in their version alone."""
    found = []
    for version in ("1", "2", "3"):
        folder = tmp_path / model.card.name / version
        shutil.copytree(PACKAGE, folder)
        card = folder / "model.json"
        card.write_text(card.read_text().replace('"version": "1"', f'"version": "{version}"'))
        found.append((load_package(folder).digest, folder))
    return found


def test_models_share_a_device_within_its_memory(folders: list[tuple[str, Path]]) -> None:
    (one, first), (two, second), (three, third) = folders
    with_room = HotModels(CPU)
    network = with_room.get(first, one)
    hot = HotModels(CPU, budget_mb=2.5 * network.weights_mb)
    kept = hot.get(first, one)
    hot.get(second, two)
    assert hot.get(first, one) is kept, "it is not loaded twice"
    hot.get(third, three)
    assert [reference.split("@")[1] for reference in hot.references] == ["1", "3"]


def test_one_that_is_larger_than_the_room_is_kept_alone(folders: list[tuple[str, Path]]) -> None:
    hot = HotModels(CPU, budget_mb=0.5)
    for digest, folder in folders[:2]:
        hot.get(folder, digest)
    assert [reference.split("@")[1] for reference in hot.references] == ["2"]


def test_a_package_that_is_another_by_now_is_refused(folders: list[tuple[str, Path]]) -> None:
    with pytest.raises(ModelRefused, match="has changed"):
        HotModels(CPU).get(folders[0][1], folders[1][0])


@pytest.mark.parametrize(
    ("chips_per_s", "best"),
    [
        ({64: 100, 128: 150, 256: 160, 512: 161, 1024: 300}, 256),
        ({64: 100, 128: 102}, 64),
        ({64: 100, 128: 200, 256: None}, 128),
        ({64: 100, 128: 200, 256: 400, 512: 800, 1024: 1600}, 1024),
        ({64: None}, 64),
    ],
)
def test_a_batch_is_doubled_while_that_gains_something_and_has_room(
    chips_per_s: dict[int, float | None], best: int
) -> None:
    def seconds(size: int) -> float | None:
        speed = chips_per_s[size]
        return None if speed is None else size / speed

    assert tuned_batch(seconds, 64, 1024) == best


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_batch_has_room_where_each_lane_can_have_one(taken: int, free: int) -> None:
    if has_room(taken, free):
        assert CUDA_LANES * taken < free
    else:
        assert CUDA_LANES * taken > 0.7 * free
