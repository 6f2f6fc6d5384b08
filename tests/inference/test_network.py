"""The network as an engine holds it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.inference import eurosat
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import Network, fastest_type
from constellation_pipelines.inference.normalise import Normaliser
from tests.inference.conftest import PACKAGE
from tests.inference.networks import Dense, card_of, classify

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def chips(sample_data: Path, model: Model) -> torch.Tensor:
    """Real chips, each in four rotations, normalised."""
    files = sorted((sample_data / "chips").glob("*/*.jpg"))
    with pytest.warns(match="no geotransform"):
        pixels = np.stack([eurosat.decode(path.read_bytes()) for path in files])
    turned = np.concatenate([np.rot90(pixels, k, (2, 3)) for k in range(4)])
    bands = tuple(Band(i, b.name, b.name, "uint8") for i, b in enumerate(model.card.bands, 1))
    return Normaliser(model.card, bands, CPU)(torch.from_numpy(turned.copy()), None)


def test_folding_batch_norms_changes_no_score(model: Model, chips: torch.Tensor) -> None:
    eager = load_module(PACKAGE, model.card)
    folded = fold_batch_norms(eager)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    with torch.inference_mode():
        assert torch.allclose(eager(chips), folded(chips), atol=1e-3)


def test_the_fast_network_agrees_with_the_plain_one_on_999_of_1000_chips(
    model: Model, network: Network, chips: torch.Tensor
) -> None:
    with torch.inference_mode():
        plain = load_module(PACKAGE, model.card)(chips).argmax(1).numpy()
    fast = classify(network, chips)
    assert len(fast) == 200
    assert (fast == plain).mean() >= 0.999


def drop_a_tensor(weights: dict[str, torch.Tensor]) -> None:
    del weights["head.weight"]


def change_a_shape(weights: dict[str, torch.Tensor]) -> None:
    weights["head.weight"] = torch.zeros(11, 256)


def put_in_nan(weights: dict[str, torch.Tensor]) -> None:
    weights["head.bias"][0] = torch.nan


@pytest.mark.parametrize("spoil", [drop_a_tensor, change_a_shape, put_in_nan])
def test_weights_that_do_not_suit_the_card_are_refused(
    tmp_path: Path, model: Model, spoil: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    weights = load_file(PACKAGE / model.card.weights_file)
    spoil(weights)
    save_file(weights, tmp_path / model.card.weights_file)
    with pytest.raises(ModelRefused, match="weights"):
        load_module(tmp_path, model.card)


@pytest.mark.parametrize("change", [{"bands": 4}, {"classes": 9}, {"width": 64}, {"depth": 1}])
def test_options_that_contradict_the_card_are_refused(model: Model, change: dict[str, Any]) -> None:
    options = {**model.card.architecture_options, **change}
    with pytest.raises(ModelRefused):
        load_module(PACKAGE, replace(model.card, architecture_options=options))


def test_whole_chips_and_pixels_are_ranked_in_the_fastest_type_and_numbers_are_not(
    model: Model,
) -> None:
    fast = fastest_type(CPU)
    for task, expected in [
        (Task.SCENE_CLASSIFICATION, fast),
        (Task.SEGMENTATION, fast),
        (Task.REGRESSION, torch.float32),
        (Task.EMBEDDING, torch.float32),
    ]:
        card = replace(card_of(model.card, task), architecture="any")
        assert Network(Dense(2, card.channels), card, CPU).dtype is expected


def test_a_callable_that_is_no_module_is_taken_as_it_is(model: Model) -> None:
    card = card_of(model.card, Task.EMBEDDING, halo_px=0, channels=2)
    network = Network(lambda chips: chips.mean((2, 3)), card, CPU)
    network.warm_up()
    assert network.weights_mb == 0
    assert torch.equal(network.answer(torch.ones(3, 2, 32, 32)), torch.ones(3, 2))


def test_a_module_without_numbers_of_its_own_is_given_float32(model: Model) -> None:
    card = replace(card_of(model.card, Task.SEGMENTATION, channels=2), architecture=None)
    assert Network(torch.nn.Identity(), card, CPU).dtype is torch.float32


def test_a_graph_that_cannot_run_in_the_fastest_type_runs_in_float32(model: Model) -> None:
    class Float32Only(Dense):
        def forward(self, chips: torch.Tensor) -> torch.Tensor:
            return super().forward(chips + torch.zeros(1, dtype=torch.float32))

    card = replace(card_of(model.card, Task.SEGMENTATION), architecture=None)
    network = Network(Float32Only(2, 4).eval(), card, CPU)
    network.warm_up()
    assert network.dtype is torch.float32


def test_a_device_without_room_for_a_graph_is_no_reason_for_float32(model: Model) -> None:
    class TooLarge(Dense):
        def forward(self, chips: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("no room")

    card = replace(card_of(model.card, Task.SEGMENTATION), architecture=None)
    with pytest.raises(torch.OutOfMemoryError):
        Network(TooLarge(2, 4).eval(), card, CPU)


@pytest.mark.parametrize("channels", [3, 5])
def test_an_answer_of_another_shape_than_the_card_says_is_refused(
    model: Model, channels: int
) -> None:
    card = card_of(model.card, Task.SEGMENTATION, channels=4)
    with pytest.raises(ModelRefused, match="where its card says"):
        Network(Dense(2, channels), card, CPU).warm_up()
