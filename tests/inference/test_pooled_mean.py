"""Means of whole maps, computed as poolings."""

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.pooled_mean import pooled_means
from tests.inference.test_resnet import lively


def means(network: nn.Module) -> int:
    assert isinstance(network, fx.GraphModule)
    return sum(node.target == "mean" for node in network.graph.nodes)


@pytest.mark.parametrize(
    ("name", "options"), [("resnet-d-compact", {"width": 8}), ("resnet18", {})]
)
@torch.inference_mode()
def test_a_classifier_takes_no_mean_and_says_the_same(name: str, options: dict[str, int]) -> None:
    torch.manual_seed(5)
    network = fold_batch_norms(lively(build(name, {"bands": 3, "classes": 5, **options})))
    chips = torch.randn(2, 3, 64, 48)
    found = pooled_means(network, chips[:1])
    assert means(found) == 0
    assert not found.training
    assert torch.allclose(found(chips), network(chips), rtol=1e-4, atol=1e-4)


class Mean(nn.Module):
    """A mean with these arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.args, self.kwargs = args, kwargs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x.mean(*self.args, **self.kwargs)
        return result


@pytest.mark.parametrize(
    "network",
    [
        Mean((2, 3)),
        Mean([-2, -1]),
        Mean((2, 3), True),
        Mean((2, 3), keepdim=True),
        Mean(dim=(-2, -1)),
    ],
)
@torch.inference_mode()
def test_however_it_is_written(network: nn.Module) -> None:
    maps = torch.randn(2, 3, 5, 7)
    found = pooled_means(network, maps[:1])
    assert means(found) == 0
    assert found(maps).shape == network(maps).shape
    assert torch.allclose(found(maps), network(maps), atol=1e-6)


@pytest.mark.parametrize(
    "network", [Mean(), Mean(1), Mean((1, 2)), Mean((2, 3), dtype=torch.float64)]
)
@torch.inference_mode()
def test_other_means_stay(network: nn.Module) -> None:
    maps = torch.randn(2, 3, 5, 7)
    assert pooled_means(network, maps[:1]) is network


@torch.inference_mode()
def test_the_mean_of_something_else_than_maps_stays() -> None:
    network = Mean((-2, -1))
    rows = torch.randn(2, 5, 7)
    found = pooled_means(network, rows[:1])
    assert torch.equal(found(rows), network(rows))
