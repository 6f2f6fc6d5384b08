"""Convolutions over a few positions, computed as products of matrices."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.matrix_conv import (
    Columns,
    WholeMap,
    as_matrices,
    out_size,
    product_of,
)
from tests.inference.test_resnet import lively

KERNELS: list[tuple[int, int]] = [(1, 1), (2, 2), (3, 3), (3, 1)]
STRIDES: list[tuple[int, int]] = [(1, 1), (2, 2), (2, 1)]
PADS: list[tuple[int, int]] = [(0, 0), (1, 1), (0, 1)]


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (1, 4), (5, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_both_products_give_what_the_convolution_gives(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    tried = 0
    for kernel, stride, pad in itertools.product(KERNELS, STRIDES, PADS):
        conv = nn.Conv2d(3, 5, kernel, stride, pad, bias=bias).requires_grad_(False)
        if min(out_size(conv, size)) < 1:
            continue
        maps = torch.randn(4, 3, *size)
        expected = conv(maps)
        for product in (WholeMap(conv, size), Columns(conv)):
            found = product(maps)
            assert found.shape == expected.shape
            assert torch.allclose(found, expected, atol=1e-5)
            assert found.is_contiguous(memory_format=torch.channels_last)
        tried += 1
    assert tried > 10


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, device="meta")


def test_which_product_is_made_depends_on_positions_and_weights_alone() -> None:
    assert isinstance(product_of(conv(8, 8), (2, 2)), WholeMap)
    assert isinstance(product_of(conv(256, 512, stride=2), (4, 4)), Columns)
    assert isinstance(product_of(conv(2048, 512, 1), (2, 2)), Columns)
    assert product_of(conv(256, 256), (4, 4)) is None  # its weights stay in a core's cache
    assert product_of(conv(512, 512), (7, 7)) is None  # enough positions for a convolution


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_kinds_of_convolutions_stay(other: nn.Conv2d) -> None:
    assert product_of(other, (2, 2)) is None


def products(network: nn.Module) -> int:
    return sum(isinstance(part, (WholeMap, Columns)) for part in network.modules())


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 4), ("resnet50", 9)])
@torch.inference_mode()
def test_a_resnets_last_stage_says_the_same(name: str, expected: int) -> None:
    torch.manual_seed(1)
    network = fold_batch_norms(lively(build(name, {"bands": 4, "classes": 5})))
    chips = torch.randn(3, 4, 64, 64)
    before = network(chips)
    found = as_matrices(network, chips[:1])
    assert products(network) == 0
    assert products(found) == expected
    assert torch.allclose(found(chips), before, rtol=1e-4, atol=1e-4)


class Twice(nn.Module):
    """One convolution for maps of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x)[..., :1, :1] + self.conv(x[..., :1, :1])
        return result


class Derived(nn.Conv2d):
    """Does something else than its weights say."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = -super().forward(x)
        return result


@pytest.mark.parametrize("network", [Twice(), nn.Sequential(Derived(3, 3, 3, padding=1))])
@torch.inference_mode()
def test_what_is_no_convolution_over_maps_of_one_size_stays(network: nn.Module) -> None:
    maps = torch.randn(2, 3, 2, 2)
    found = as_matrices(network, maps[:1])
    assert products(found) == 0
    assert torch.equal(found(maps), network(maps))


@torch.inference_mode()
def test_the_rest_of_the_network_is_not_copied() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3, stride=8, padding=1), nn.Conv2d(3, 4, 1, padding=1))
    found = as_matrices(network, torch.randn(1, 3, 16, 16))
    assert isinstance(found[0], nn.Conv2d)  # type: ignore[index]
    assert found[0].weight is network[0].weight  # type: ignore[index]
