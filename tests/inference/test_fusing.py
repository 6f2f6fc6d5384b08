import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.fusing import agree, fused


def network() -> nn.Module:
    """A small seeded network, folded."""
    torch.manual_seed(0)
    return fold_batch_norms(build("resnet18-compact", {"bands": 3, "classes": 5, "width": 8}))


def noise(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_fused_network_says_what_the_network_says(dtype: torch.dtype) -> None:
    module = network().to(dtype)
    chips = noise(8, dtype)
    forward = fused(module, chips)
    assert forward is not module
    other = chips.flip(0).contiguous()
    assert agree(forward(other), module(other), 0.06)


NETWORKS: dict[str, dict[str, int]] = {
    "resnet18-compact": {"width": 8},
    "resnet18": {},  # ends in products of matrices
    "unet": {"width": 16, "depth": 3},  # joins maps
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_chips_answer_depends_neither_on_its_place_nor_on_its_neighbours(
    name: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    options = {"bands": 3, "classes": 5, **NETWORKS[name]}
    module = fold_batch_norms(build(name, options)).to(dtype)
    chips = noise(8, dtype)
    forward = fused(module, chips)
    assert forward is not module
    alone = torch.zeros_like(chips)
    alone[0] = chips[5]
    assert torch.equal(forward(chips)[5], forward(alone)[0])


def test_several_threads_may_use_one_graph() -> None:
    chips = noise(8)
    forward = fused(network(), chips)
    answers: list[Tensor] = []

    def ask() -> None:
        with torch.inference_mode():
            answers.extend(forward(chips) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 15
    assert all(torch.equal(answer, answers[0]) for answer in answers)


class Moody(nn.Module):
    """Does something else for other numbers, which a trace does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Another answer from call to call, as a trace would not have it."""
        self.calls += 1
        return x + self.calls


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Refuses to be looked at."""
        jit: Any = torch.jit
        if jit.is_tracing():
            raise RuntimeError("no")
        return x * 2


@pytest.mark.parametrize("module", [Moody(), Untraceable()])
def test_a_network_whose_graph_would_say_something_else_stays_as_it_is(module: nn.Module) -> None:
    assert fused(module.eval(), noise(1)) is module


def test_numbers_that_are_none_are_no_agreement() -> None:
    assert not agree(torch.tensor([float("nan")]), torch.tensor([1.0]), 0.1)
    assert not agree(torch.tensor([1.0]), torch.tensor([float("nan")]), 0.1)
