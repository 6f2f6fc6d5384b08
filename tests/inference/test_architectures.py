"""Architectures that weights can name."""

from typing import Any

import pytest
import torch

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.inference.architectures import build, build_empty

OPTIONS: dict[str, Any] = {"bands": 4, "classes": 7, "width": 8}


@pytest.mark.parametrize("architecture", ["resnet18-compact", "resnet-d-compact"])
@pytest.mark.parametrize("chip_px", [16, 40, 64, 96])
def test_it_scores_each_chip_for_each_class(architecture: str, chip_px: int) -> None:
    network = build(architecture, OPTIONS).eval()
    assert network(torch.zeros(3, 4, chip_px, chip_px)).shape == (3, 7)


def test_an_unknown_architecture_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ModelRefused, match="resnet18-compact"):
        build("os.system", OPTIONS)


@pytest.mark.parametrize(
    "change",
    [
        {"bands": 0},
        {"bands": 65},
        {"classes": 1},
        {"classes": 10**9},
        {"width": 10**6},
        {"width": 8.0},
        {"width": True},
        {"width": "8"},
        {"width": None},
        {"depth": 3},
        {"__class__": 3},
    ],
)
def test_a_bad_option_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused, match=next(iter(change))):
        build("resnet18-compact", {**OPTIONS, **change})


@pytest.mark.parametrize(("height", "width", "depth"), [(64, 96, 4), (16, 16, 5), (4, 2, 2)])
def test_a_unet_scores_each_pixel_for_each_class(height: int, width: int, depth: int) -> None:
    network = build("unet", {**OPTIONS, "depth": depth}).eval()
    assert network(torch.zeros(2, 4, height, width)).shape == (2, 7, height, width)


def test_a_unet_gives_a_pixel_the_same_scores_wherever_its_chip_begins() -> None:
    """Chips that begin at multiples of the deepest level's pixels see the same, away from rims."""
    torch.manual_seed(0)
    network = build("unet", {**OPTIONS, "depth": 3}).eval()
    ground = torch.rand(1, 4, 128, 128)
    with torch.inference_mode():
        one, other = network(ground[..., :96, :96]), network(ground[..., 16:112, 16:112])
    reach = 40  # more than 9 * 2 ** (depth - 1)
    kept = slice(reach, 96 - reach)
    moved = slice(reach - 16, 96 - reach - 16)
    assert torch.allclose(one[..., kept, kept], other[..., moved, moved], atol=1e-5)


@pytest.mark.parametrize("change", [{"depth": 1}, {"depth": 7}, {"depth": None}, {"width": 4000}])
def test_a_bad_option_of_a_unet_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused, match=next(iter(change))):
        build("unet", {**OPTIONS, "depth": 4, **change})


def test_a_unet_has_a_greatest_width() -> None:
    with pytest.raises(ModelRefused, match="wider"):
        build_empty("unet", {**OPTIONS, "width": 256, "depth": 6})


def test_shapes_alone_take_no_memory() -> None:
    largest = {"bands": 64, "classes": 255, "width": 256}
    parameters = list(build_empty("resnet18-compact", largest).parameters())
    assert all(parameter.is_meta for parameter in parameters)
