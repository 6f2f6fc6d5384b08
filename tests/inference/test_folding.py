"""Which batch norms become part of a convolution, and which must not."""

import pytest
import torch
from torch import Tensor, nn

from constellation_pipelines.inference.architectures import ARCHITECTURES, build
from constellation_pipelines.inference.folding import fold_batch_norms
from tests.inference.test_resnet import lively


def norms(network: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def same(network: nn.Module, folded: nn.Module, chip_px: int = 16) -> bool:
    chips = torch.randn(2, 3, chip_px, chip_px)
    with torch.inference_mode():
        return torch.allclose(network(chips), folded(chips), rtol=1e-3, atol=1e-3)


SMALL: dict[str, dict[str, int]] = {
    "resnet18-compact": {"width": 8},
    "resnet-d-compact": {"width": 8},
    "unet": {"width": 8, "depth": 3},
}


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"resnet101", "resnet152"}))
def test_every_named_network_folds_whole(name: str) -> None:
    torch.manual_seed(4)
    options = {"bands": 3, "classes": 5, **SMALL.get(name, {})}
    network = lively(build(name, options))
    folded = fold_batch_norms(network)
    assert norms(network) > 0
    assert norms(folded) == 0
    assert same(network, folded, chip_px=32)


class Branching(nn.Module):
    """The convolution's own output is used as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat([y, self.norm(y)], 1)


class Shared(nn.Module):
    """One convolution before two norms, as weight sharing has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.one, self.two = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.one(self.conv(x)) + self.two(self.conv(x.flip(2)))
        return result


class Deciding(nn.Module):
    """The way depends on the values, so there is no graph to read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return -y if y.sum() > 0 else y


def test_upsampling_convolutions_fold_as_well() -> None:
    network = lively(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 4, 2, 2),
            nn.BatchNorm2d(4),
        )
    )
    folded = fold_batch_norms(network)
    assert (norms(network), norms(folded)) == (2, 0)
    assert same(network, folded)


def test_a_norm_stays_whose_input_others_use() -> None:
    for network in (lively(Branching()), lively(Shared())):
        folded = fold_batch_norms(network)
        assert norms(folded) == norms(network)
        assert same(network, folded)


def test_a_network_without_a_graph_stays_as_it_is() -> None:
    network = lively(Deciding())
    folded = fold_batch_norms(network)
    assert norms(folded) == 1
    assert same(network, folded)
