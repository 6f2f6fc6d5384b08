"""A package that teaches."""

from pathlib import Path

import torch

from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.teacher import Teacher
from constellation_pipelines.inference.trainer import Normaliser
from tests.inference.conftest import PACKAGE

CPU = torch.device("cpu")


def values(count: int, px: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    patches = torch.rand(count, 3, 8, 8, generator=source)
    return torch.nn.functional.interpolate(patches, (px, px), mode="bilinear")


def test_it_says_what_its_network_says_of_any_number_of_chips() -> None:
    model = load_package(PACKAGE)
    teacher = Teacher(model, CPU)
    assert teacher.reference == model.card.reference
    network = load_module(Path(model.folder), model.card)
    normaliser = Normaliser(model.card.mean, model.card.std, CPU)
    for count in (1, 70, 128):
        seen = values(count, 64)
        said = teacher(seen)
        with torch.no_grad():
            expected = network(normaliser.standardise(seen)).softmax(1)
        assert said.shape == (count, 10)
        assert torch.allclose(said.sum(1), torch.ones(count), atol=1e-5)
        assert torch.allclose(said, expected, atol=0.06)  # it computes in the fastest safe type


def test_it_sees_chips_of_another_size_in_its_own() -> None:
    assert Teacher(load_package(PACKAGE), CPU)(values(3, 40)).shape == (3, 10)


def test_what_it_says_can_take_part_in_learning() -> None:
    said = Teacher(load_package(PACKAGE), CPU)(values(2, 64))
    scores = torch.zeros(2, 10, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(scores, torch.lerp(torch.zeros(2, 10), said, 0.5))
    loss.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad.abs().sum() > 0
