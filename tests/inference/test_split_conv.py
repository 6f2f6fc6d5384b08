"""Convolutions behind a concatenation, computed part by part."""

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.split_conv import split_convs
from tests.inference.test_resnet import lively


def concatenations(network: nn.Module) -> int:
    assert isinstance(network, fx.GraphModule)
    return sum(node.target is torch.cat for node in network.graph.nodes)


@torch.inference_mode()
def test_a_u_net_joins_nothing_and_says_the_same() -> None:
    torch.manual_seed(2)
    options = {"bands": 3, "classes": 5, "width": 16, "depth": 3}
    network = fold_batch_norms(lively(build("unet", options)))
    chips = torch.randn(2, 3, 32, 32)
    before = network(chips)
    found = split_convs(network, chips[:1])
    assert concatenations(found) == 0
    assert not found.training
    assert torch.allclose(found(chips), before, rtol=1e-4, atol=1e-4)


class Joining(nn.Module):
    """Joins two maps in some way, and convolves them."""

    def __init__(self, inputs: int = 48, **conv: Any) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 32, 1)
        self.conv = nn.Conv2d(inputs, 8, 3, padding=1, **conv)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(torch.cat((self.one(x), self.two(x)), dim=1))
        return result


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_parts_may_differ_in_width(bias: bool) -> None:
    torch.manual_seed(3)
    network = Joining(bias=bias).eval()
    chips = torch.randn(2, 3, 9, 7)
    found = split_convs(network, chips[:1])
    assert concatenations(found) == 0
    assert torch.allclose(found(chips), network(chips), atol=1e-5)


class Seen(Joining):
    """What is joined is used elsewhere too."""

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat((self.one(x), self.two(x)), dim=1)
        result: Tensor = joined[:, :8] + self.conv(joined)
        return result


class Stacked(Joining):
    """Joined below each other, not channel by channel."""

    def __init__(self) -> None:
        super().__init__(inputs=16)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(torch.cat((self.one(x), self.two(x)[:, 16:]), 2))
        return result


class Three(Joining):
    def forward(self, x: Tensor) -> Tensor:
        """Three parts."""
        y = self.two(x)
        result: Tensor = self.conv(torch.cat((self.one(x), y[:, :16], y[:, 16:]), 1))
        return result


class Narrow(Joining):
    def forward(self, x: Tensor) -> Tensor:
        """One part of few channels."""
        y = self.two(x)
        joined = torch.cat((self.one(x), y), 1)
        result: Tensor = self.conv(torch.cat((joined[:, :5], joined[:, 5:]), 1))
        return result


class Deciding(Joining):
    def forward(self, x: Tensor) -> Tensor:
        """The way depends on the values."""
        return -super().forward(x) if x.sum() > 0 else super().forward(x)


@pytest.mark.parametrize(
    "network", [Seen(), Stacked(), Three(), Narrow(), Deciding(), Joining(groups=8)]
)
@torch.inference_mode()
def test_what_is_something_else_says_the_same_as_before(network: nn.Module) -> None:
    network.eval()
    chips = torch.randn(2, 3, 8, 8)
    found = split_convs(network, chips[:1])
    assert found is network or concatenations(found) > 0
    assert torch.equal(found(chips), network(chips))
