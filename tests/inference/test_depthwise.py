"""Depthwise convolutions made for learning: the same numbers and gradients as torch's own."""

import itertools

import pytest
import torch
from torch import nn

from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.depthwise import Depthwise, with_fast_depthwise
from tests.inference.test_timm_networks import timm  # noqa: F401 - skips where it is missing

CASES = [
    case
    for case in itertools.product((3, 11, 12), (3, 5), (1, 2), (0, 1, 2))
    if case[0] + 2 * case[3] >= case[1]  # else no position fits
]


@pytest.mark.parametrize(("size", "side", "stride", "padding"), CASES)
def test_answer_and_gradients_are_torchs_own(
    size: int, side: int, stride: int, padding: int
) -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(6, 6, side, stride, padding, groups=6, bias=False)
    maps = torch.randn(2, 6, size, size, requires_grad=True)
    found = []
    for one in (conv, Depthwise(conv, pads_as_needed=False)):
        answer = one(maps)
        found.append((answer, *torch.autograd.grad(answer.sin().sum(), (maps, conv.weight))))
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_network_of_timms_learns_the_same_under_the_same_names() -> None:
    torch.manual_seed(2)
    options = {"bands": 3, "classes": 4}
    # In float64: what is zero but for rounding then is smaller than any gradient.
    network = build("timm:tf_efficientnet_lite0", options).train().double()
    fast = build("timm:tf_efficientnet_lite0", options).train().double()
    fast.load_state_dict(network.state_dict())
    with_fast_depthwise(fast)
    kinds = {type(part).__name__ for part in fast.modules()}
    assert "Conv2dSame" in kinds  # the first, which is not depthwise
    assert sum(isinstance(part, Depthwise) for part in fast.modules()) == 16
    assert fast.state_dict().keys() == network.state_dict().keys()
    chips = torch.randn(2, 3, 61, 61, dtype=torch.float64)
    grads = []
    for one in (network, fast):
        one(chips).square().mean().backward()
        grads.append({name: value.grad for name, value in one.named_parameters()})
    for name, value in grads[0].items():
        assert value is not None
        other = grads[1][name]
        assert other is not None
        assert torch.allclose(other, value, rtol=1e-6, atol=1e-9), name


def test_other_convolutions_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4),  # has a bias
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(8, 8, 7, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.Conv2d(8, 8, 3, dilation=2, groups=8, bias=False),
    )
    assert all(type(part) is nn.Conv2d for part in with_fast_depthwise(network).children())
