"""Architectures that weights can name."""

from typing import Any

import pytest
import torch

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.inference.architectures import build, build_empty

OPTIONS: dict[str, Any] = {"bands": 4, "classes": 7, "width": 8}


@pytest.mark.parametrize("chip_px", [16, 64, 96])
def test_it_scores_each_chip_for_each_class(chip_px: int) -> None:
    network = build("resnet18-compact", OPTIONS).eval()
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


def test_shapes_alone_take_no_memory() -> None:
    largest = {"bands": 64, "classes": 255, "width": 256}
    parameters = list(build_empty("resnet18-compact", largest).parameters())
    assert all(parameter.is_meta for parameter in parameters)
