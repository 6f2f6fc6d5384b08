"""Chips whose two best classes bfloat16 cannot tell apart are decided in float32."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constellation_pipelines.domain.model import Model, ModelCard, Task
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.batch import Batch, Cut
from constellation_pipelines.inference.computing import Computing
from constellation_pipelines.inference.lanes import ProcessorLane, exactly
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.near_ties import (
    NearTies,
    made_up_land,
    margins,
    near_ties_of,
)
from constellation_pipelines.inference.network import Network, fastest_type
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.predict import predict
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.inference.work_raster import Product, WorkRaster, layouts
from tests.inference.conftest import PACKAGE, OrderFactory, square_tiles
from tests.inference.networks import CPU, Pooled, card_of, classify, order_of
from tests.inference.test_reader import write

rounds = pytest.mark.skipif(
    fastest_type(CPU) is not torch.bfloat16, reason="this processor has no bfloat16"
)


class Hair(nn.Module):
    """Of a flat chip the second class is ahead by a tenth of what bfloat16 can tell at this height;
    the more a chip varies, the more certain it is of the first. Where all are `alike`, none is.
    """

    alike = False

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor([100.0, 100.05, *[0.0] * (classes - 2)]))

    def forward(self, chips: Tensor) -> Tensor:
        ahead = torch.zeros_like(self.offset)
        ahead[0] = 0.0 if self.alike else 1000.0
        return self.offset + ahead * chips.var((2, 3), correction=0).mean(1, keepdim=True)


class Plateau(Hair):
    """Every chip is as near a tie as every other."""

    alike = True


def test_the_margin_is_from_the_best_class_to_the_second() -> None:
    logits = torch.tensor([[1.0, 4.0, 3.0], [2.0, 2.0, 0.0], [float("nan"), 1.0, 0.0]])
    found = margins(logits)
    assert found[:2].tolist() == [1.0, 0.0]
    assert found[2].isnan()


def test_only_near_ties_are_asked_again_each_by_itself() -> None:
    chips = torch.arange(4.0).view(4, 1, 1, 1)
    asked: list[Tensor] = []

    def exact(chip: Tensor) -> Tensor:
        asked.append(chip)
        return torch.tensor([[0.0, 9.0]])

    logits = torch.tensor([[5.0, 0.0], [1.1, 1.0], [0.0, 5.0], [float("nan"), 0.0]])
    count = NearTies(exact, margin=0.2).decide(logits, lambda i: chips[i : i + 1])
    assert count == 1
    assert [chip.item() for chip in asked] == [1.0]
    assert logits[:3].tolist() == [[5.0, 0.0], [0.0, 9.0], [0.0, 5.0]]
    assert logits[3, 0].isnan(), "a network that fails is not asked again"


def flat(*values: float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1).expand(1, -1, 4, 4)


def test_a_flat_chip_is_computed_once_whatever_the_batch_it_comes_in() -> None:
    """Fill beyond a scene's edge, and saturated clouds: thousands of chips, all the same tie."""
    chips = [flat(2.0, 2.0), flat(-2.0, -2.0), flat(2.0, 2.0).contiguous(), flat(2.0, -2.0)]
    asked: list[Tensor] = []

    def exact(chip: Tensor) -> Tensor:
        assert chip.is_contiguous()
        asked.append(chip)
        return torch.stack([chip.mean((2, 3))[:, 0], chip.sum((1, 2, 3))], 1)

    near_ties = NearTies(exact, margin=1.0)
    for _ in range(3):
        logits = torch.zeros(4, 2)
        assert near_ties.decide(logits, lambda i: chips[i]) == 4
        assert logits.tolist() == [[2.0, 64.0], [-2.0, -64.0], [2.0, 64.0], [2.0, 0.0]]
    assert len(asked) == 6
    assert [chip is chips[2] for chip in asked[4:]] == [True, True], "only what is flat is known"


def test_no_more_than_some_flat_chips_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("constellation_pipelines.inference.near_ties.MOST_FLAT", 8)
    near_ties = NearTies(lambda chip: chip.sum((2, 3)), margin=1.0)
    for value in [*range(20), 0, 19]:
        logits = torch.zeros(1, 2)
        near_ties.decide(logits, lambda _, value=value: flat(value, value))  # type: ignore[misc]
        assert logits.tolist() == [[16.0 * value] * 2]
        assert len(near_ties._flat) <= 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_flat_chip_comes_as_a_view_with_the_same_pixels(model: Model, dtype: Any) -> None:
    card = card_of(model.card, Task.SCENE_CLASSIFICATION)
    bands = tuple(Band(i, b.name, b.name, "uint16") for i, b in enumerate(card.bands, 1))
    normaliser = Normaliser(card, bands, CPU)
    pixels = np.random.default_rng(1).integers(0, 255, (3, 2, 1, 1)).astype(dtype)
    pixels = pixels.repeat(32, 2).repeat(32, 3)
    pixels[2, 1, 31, 31] += 1
    whole = np.ones((3, 32, 32), np.bool_)
    for holes, views in ((None, [True, True, False]), (whole, [False] * 3)):
        batch = Batch(((Cut([pixels], holes, [()] * 3, None), 0, 3),))
        expected = normaliser(torch.from_numpy(pixels), None)
        for i, view in enumerate(views):
            found = exactly(normaliser, batch.part(i, i + 1))
            assert torch.equal(found[0], expected[i])
            assert (found.stride()[2:] == (0, 0)) == view


def test_the_margin_follows_from_what_rounding_does_to_it() -> None:
    def exact(chip: Tensor) -> Tensor:
        return torch.tensor([[3.0, 1.0]])

    def off_by(error: float) -> float:
        def fast(chips: Tensor) -> Tensor:
            return torch.tensor([[3.0 - error, 1.0]]).repeat(len(chips), 1)

        return near_ties_of(exact, fast, torch.zeros(8, 1, 4, 4), 4).margin

    assert off_by(0.0) == 0
    assert off_by(0.5) == pytest.approx(1.5)


@pytest.mark.parametrize(("undecided", "too_many"), [(5, False), (6, True), (16, True)])
def test_too_many_are_more_than_a_third_of_the_examples(undecided: int, too_many: bool) -> None:
    leads = torch.tensor([0.1] * undecided + [9.0] * (16 - undecided))

    def exact(chip: Tensor) -> Tensor:
        return torch.tensor([[leads[int(chip)], 0.0]])

    def fast(chips: Tensor) -> Tensor:
        return torch.stack([leads[chips.long().flatten()] - 0.5, torch.zeros(len(chips))], 1)

    found = near_ties_of(exact, fast, torch.arange(16.0).view(16, 1, 1, 1), 4)
    assert found.share == undecided / 16
    assert found.too_many == too_many


def test_made_up_land_is_the_same_each_time_and_varies_at_every_size() -> None:
    chips = made_up_land(16, 3, 64)
    assert chips.shape == (16, 3, 64, 64)
    assert torch.equal(chips, made_up_land(16, 3, 64))
    assert chips.mean((1, 2, 3)).std() > 0.3, "chips differ from one another"
    assert (chips.std((2, 3)) > 0.001).all(), "and within"


def network_of(model: Model, module: type[Hair]) -> Network:
    card = card_of(model.card, Task.SCENE_CLASSIFICATION, halo_px=0)
    card = replace(card, architecture="any")
    return Network(module(len(card.classes)).eval(), card, CPU)


@pytest.fixture
def hair(model: Model) -> Network:
    return network_of(model, Hair)


@rounds
def test_a_network_says_what_float32_says_where_bfloat16_cannot_tell(hair: Network) -> None:
    chips = torch.zeros(5, 2, hair.card.chip_px, hair.card.chip_px)
    assert (hair.answer(chips).argmax(1) == 0).all(), "bfloat16 alone takes the first"
    assert classify(hair, chips).tolist() == [1] * 5


@rounds
def test_so_does_a_lane(hair: Network) -> None:
    card = hair.card
    bands = tuple(Band(i, b.name, b.name, "uint8") for i, b in enumerate(card.bands, 1))
    pixels = np.random.default_rng(3).integers(0, 255, (70, 2, 1, 1), np.uint8)
    pixels = np.broadcast_to(pixels, (70, 2, 32, 32)).copy()
    cut = Cut([pixels], None, [(Window(0, 0, 32, 32),)] * 70, None)
    normaliser = Normaliser(card, bands, CPU, hair.dtype)
    found = ProcessorLane().infer(hair, normaliser, Batch(((cut, 0, 70),)), 70)
    assert found.argmax(1).tolist() == [1] * 70


@rounds
def test_its_weights_in_both_types_are_counted(hair: Network) -> None:
    plain = sum(one.numel() for one in Hair(len(hair.card.classes)).parameters())
    assert hair.weights_mb == pytest.approx(plain * (2 + 4) / 2**20)


def test_numbers_and_vectors_have_no_ties(model: Model) -> None:
    card = replace(card_of(model.card, Task.EMBEDDING, halo_px=0, channels=4), architecture="any")
    assert Network(Hair(4).eval(), card, CPU).near_ties is None


@rounds
def test_the_margin_covers_what_the_two_types_differ_by(network: Network, model: Model) -> None:
    """Real networks: where bfloat16 names another class, it is by less than the margin."""
    assert network.near_ties is not None
    chips = made_up_land(512, 3, 64)[256:]  # others than those that it was measured on
    with torch.inference_mode():
        expected = load_module(PACKAGE, model.card)(chips)
        parts = range(0, len(chips), network.slice)
        found = torch.cat([network.answer(chips[i : i + network.slice]) for i in parts])
    other = found.argmax(1) != expected.argmax(1)
    assert (margins(found)[other] < network.near_ties.margin).all()
    near = (margins(found) < network.near_ties.margin).float().mean().item()
    assert near < 0.1, "and it is not so wide that most is computed twice"


def tied(model: Model, apart: float) -> Network:
    """One whose classes differ by so little that chips are near ties: some where the last layer's
    weights are `apart` by a tenth, nearly all where by a hundredth.
    """
    card = replace(card_of(model.card, Task.SCENE_CLASSIFICATION), architecture="any")
    return Network(tied_module(card, apart), card, CPU)


def tied_module(card: ModelCard, apart: float) -> nn.Module:
    module = Pooled(2, card.channels).eval()
    with torch.no_grad():
        last: Any = module.layers[2]
        factors = torch.tensor([1 - apart, 1, 1 + apart])
        last.weight[1:] = last.weight[0] * factors.view(3, 1, 1, 1)
        last.bias.zero_()
    return module


def run(order: PredictOrder, network: Network, lanes: int) -> NDArray[Any]:
    device = Computing(CPU, lanes=lanes)
    list(predict(order, network, cancelled=lambda: False, device=device))
    return classes_of(order, network.card)


def classes_of(order: PredictOrder, card: ModelCard) -> NDArray[Any]:
    (layout,) = (one for one in layouts(card) if one.product is Product.CLASS)
    with WorkRaster(Path(order.work), layout, order.grid) as raster:
        return raster.read(Window(0, 0, order.grid.height_px, order.grid.width_px))[:, :, 0]


@rounds
def test_where_most_are_near_ties_everything_is_computed_in_float32_and_once(
    model: Model,
) -> None:
    network = network_of(model, Plateau)
    assert network.dtype is torch.float32
    assert network.near_ties is None, "no chip is computed again"
    plain = sum(one.numel() for one in Plateau(len(network.card.classes)).parameters())
    assert network.weights_mb == pytest.approx(plain * 4 / 2**20), "and it is held once"
    chips = torch.randn(5, 2, network.card.chip_px, network.card.chip_px)
    assert classify(network, chips).tolist() == [1] * 5


def land_of(path: Path) -> Path:
    """Noise, and flat land of one value per block of 32 px, which varies as chips do."""
    source = np.random.default_rng(7)
    noise = source.integers(1, 255, (2, 160, 224))
    flat = source.integers(1, 255, (2, 5, 7)).repeat(32, 1).repeat(32, 2)
    pixels = np.where(np.arange(224) < 96, noise, flat).astype(np.uint8)
    return write(path, pixels, tiled=True, blockxsize=32, blockysize=32)


@rounds
@pytest.mark.parametrize("apart", [0.1, 0.01], ids=["some are near ties", "most are"])
def test_the_map_is_the_same_to_the_bit_whatever_the_company_of_a_near_tie(
    tmp_path: Path, model: Model, apart: float
) -> None:
    path = land_of(tmp_path / "a.tif")
    network = tied(model, apart)
    assert (network.near_ties is None) == (apart == 0.01)
    decided: list[int] = []
    if network.near_ties is not None:
        plain = network.near_ties.decide

        def counting(logits: torch.Tensor, chip: Any) -> int:
            decided.append(plain(logits, chip))
            return decided[-1]

        network.near_ties.decide = counting  # type: ignore[method-assign]
    first = run(order_of(path, tmp_path / "first"), network, lanes=2)
    assert len(np.unique(first)) > 1
    total = sum(decided)
    assert total > 0 or network.near_ties is None
    for number, (batch, lanes, tile_px) in enumerate([(1, 1, 64), (8, 3, 32), (None, 2, 224)]):
        order = order_of(path, tmp_path / str(number), tile_px)
        order = replace(order, batch=batch, windows=square_tiles(order.grid, tile_px)[::-1])
        decided.clear()
        assert (run(order, network, lanes) == first).all()
        assert sum(decided) == total


@rounds
@pytest.mark.parametrize("apart", [0.1, 0.01], ids=["some are near ties", "most are"])
def test_the_map_is_that_of_float32(tmp_path: Path, model: Model, apart: float) -> None:
    path = land_of(tmp_path / "a.tif")
    network, exact = tied(model, apart), tied(model, apart)
    module = tied_module(exact.card, apart)
    exact.dtype, exact.near_ties, exact.module = torch.float32, None, module
    found = run(order_of(path, tmp_path / "found"), network, lanes=2)
    expected = run(order_of(path, tmp_path / "expected"), exact, lanes=2)
    assert (found == expected).mean() >= 0.999


@rounds
def test_a_real_scene_has_the_classes_of_float32(
    sample_data: Path, order: OrderFactory, model: Model, network: Network
) -> None:
    asked = order(sample_data / "scenes" / "s2b_l1c_capelookout_west_4326_rgbnir_u8.tif")
    exact = Network(load_module(PACKAGE, model.card), model.card, CPU)
    exact.dtype, exact.near_ties = torch.float32, None
    exact.module = load_module(PACKAGE, model.card)
    found = run(asked, network, lanes=2)
    expected = run(replace(asked, work=asked.work + "-exact"), exact, lanes=2)
    assert (found == expected).mean() >= 0.999
