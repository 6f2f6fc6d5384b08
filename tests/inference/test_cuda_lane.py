"""What decides on a GPU how a batch is computed. None of this is a GPU: the graphs and clocks are
stand-ins, and what only CUDA can show is not shown here.
"""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from constellation_pipelines.domain.model import Model, Task
from constellation_pipelines.domain.scene import Band
from constellation_pipelines.inference.computing import translated
from constellation_pipelines.inference.cuda_lane import exact_float32, filled
from constellation_pipelines.inference.faulty_device import DeviceLost
from constellation_pipelines.inference.letting_go import letting_go
from constellation_pipelines.inference.memory_gauge import MemoryGauge
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.ways import Forward, Ways
from tests.inference.networks import CPU, card_of, network_of

# ---- which way ----


@pytest.fixture
def network(model: Model) -> Network:
    return network_of(card_of(model.card, Task.SCENE_CLASSIFICATION))


def chips(count: int) -> torch.Tensor:
    return torch.zeros(count, 2, 32, 32)


class Graphs:
    """Makes graphs that answer zeros, and clocks that say what they are told."""

    def __init__(self, graph_ms: float = 1.0, plain_ms: float = 2.0) -> None:
        self.ms = {True: graph_ms, False: plain_ms}
        self.made: list[int] = []
        self.refuse = False
        self.measured = 0
        self.at_once = 0
        self.most_at_once = 0

    def capture(self, network: Network, chips: torch.Tensor) -> Forward:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(0.02)
        self.at_once -= 1
        if self.refuse:
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")
        self.made.append(len(chips))
        return Graph()

    def clock(self, forward: Forward, chips: torch.Tensor) -> float:
        self.measured += 1
        return self.ms[isinstance(forward, Graph)]


class Graph:
    def __call__(self, chips: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(chips), 4)


def test_a_graph_is_taken_where_it_gains_and_measured_once(network: Network) -> None:
    graphs = Graphs(graph_ms=1.9)
    ways = Ways(graphs.capture, graphs.clock)
    for _ in range(3):
        assert not ways.answer(network, chips(8)).any()
    assert (graphs.made, graphs.measured) == ([8], 2)
    ways.answer(network, chips(4))
    assert graphs.made == [8, 4], "another size is another graph"


def test_without_a_gain_the_network_itself_answers(network: Network) -> None:
    graphs = Graphs(graph_ms=1.97)
    ways = Ways(graphs.capture, graphs.clock)
    for _ in range(3):
        assert torch.equal(ways.answer(network, chips(8)), network.answer(chips(8)))
    assert (graphs.made, graphs.measured) == ([8], 2)


def test_what_cannot_be_captured_runs_without_and_is_not_tried_again(network: Network) -> None:
    graphs = Graphs()
    graphs.refuse = True
    ways = Ways(graphs.capture, graphs.clock)
    for _ in range(3):
        assert torch.equal(ways.answer(network, chips(8)), network.answer(chips(8)))
    graphs.refuse = False
    ways.answer(network, chips(8))
    assert graphs.made == []


def test_what_does_its_work_elsewhere_is_never_captured(network: Network) -> None:
    network.module = lambda batch: batch.mean((2, 3)).repeat(1, 2)  # as an ONNX session does
    assert not network.on_device
    graphs = Graphs()
    assert len(Ways(graphs.capture, graphs.clock).answer(network, chips(8))) == 8
    assert graphs.made == []


def test_threads_have_graphs_of_their_own_and_make_them_one_after_the_other(
    network: Network,
) -> None:
    graphs = Graphs()
    ways = Ways(graphs.capture, graphs.clock)
    threads = [
        threading.Thread(target=lambda: [ways.answer(network, chips(8)) for _ in range(3)])
        for _ in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert graphs.made == [8] * 4
    assert graphs.measured == 2, "what one has measured holds for all"
    assert graphs.most_at_once == 1


@pytest.mark.parametrize("graph_ms", [1.0, 3.0])
def test_a_network_that_leaves_is_held_by_nobody(model: Model, graph_ms: float) -> None:
    graphs = Graphs(graph_ms)
    ways = Ways(graphs.capture, graphs.clock)
    network = network_of(card_of(model.card, Task.SCENE_CLASSIFICATION))
    ways.answer(network, chips(8))
    left = weakref.ref(network)
    del network
    gc.collect()
    assert left() is None


def test_a_graph_that_is_forgotten_is_made_again(network: Network) -> None:
    graphs = Graphs()
    ways = Ways(graphs.capture, graphs.clock)
    ways.answer(network, chips(8))
    ways.forget(network)
    ways.answer(network, chips(8))
    assert graphs.made == [8, 8]


# ---- batches ----


def test_a_batch_is_filled_up_with_zeros() -> None:
    part = torch.ones(3, 2, 4, 4, dtype=torch.bfloat16)
    whole = filled(part, 8)
    assert whole.dtype is torch.bfloat16
    assert (whole[:3] == 1).all()
    assert not whole[3:].any()
    assert filled(part, 3) is part


def test_chips_are_normalised_at_once_as_they_are_one_after_the_other(model: Model) -> None:
    dice = np.random.default_rng(3)
    scales = [(1e-4, -0.1), (2e-4, 0.05), (0.5e-4, None)]
    bands = tuple(Band(i, n, n, "uint16", *scales[i - 1]) for i, n in enumerate("rgb", 1))
    stored = torch.from_numpy(dice.integers(0, 20_000, (5, 3, 16, 16)).astype(np.uint16))
    valid = torch.from_numpy(dice.random((5, 16, 16)) < 0.8)
    valid[4] = False
    normaliser = Normaliser(model.card, bands, CPU)
    for holes in (None, valid):
        found, expected = normaliser.at_once(stored, holes), normaliser(stored, holes)
        assert torch.allclose(found, expected, atol=1e-5)
        assert found.dtype == expected.dtype
    values = stored.numpy().astype(np.float64)
    for i, (scale, offset) in enumerate(scales):
        reflectance = values[:, i] * scale + (offset or 0)
        shown = (reflectance / model.card.reflectance_white).clip(0, 1)
        wanted = (shown - model.card.mean[i]) / model.card.std[i]
        assert np.allclose(normaliser(stored, None)[:, i], wanted, atol=1e-5), "band by band"


def test_float32_is_computed_as_float32() -> None:
    backends: Any = torch.backends
    kinds = backends.cudnn.conv, backends.cuda.matmul
    before = [kind.fp32_precision for kind in kinds]
    try:
        exact_float32()
        assert [kind.fp32_precision for kind in kinds] == ["ieee", "ieee"]
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


# ---- memory ----


class Large:
    """Something that takes room."""


def fails_with(error: RuntimeError, seen: list[Any]) -> None:
    held = Large()
    seen.append(weakref.ref(held))
    raise error


def test_an_error_that_passed_holds_nothing_of_what_failed() -> None:
    seen: list[Any] = []
    with pytest.raises(torch.OutOfMemoryError) as caught, letting_go():
        fails_with(torch.OutOfMemoryError("no room"), seen)
    assert caught.value.__traceback__ is not None
    assert seen[0]() is None


def test_without_that_it_does() -> None:
    seen: list[Any] = []
    with pytest.raises(torch.OutOfMemoryError) as caught:
        fails_with(torch.OutOfMemoryError("no room"), seen)
    assert seen[0]() is not None
    del caught


class Memory:
    """A device's, in bytes."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def take(self, count: int) -> None:
        self.now += count
        self.most = max(self.most, self.now)

    def reset(self) -> None:
        self.most = self.now


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def gauge(memory: Memory) -> MemoryGauge:
    return MemoryGauge(lambda: memory.now, lambda: memory.most, memory.reset)


def test_batches_that_overlap_are_measured_together(memory: Memory, gauge: MemoryGauge) -> None:
    memory.take(100)  # weights
    gauge.begin("a")
    memory.take(10)
    gauge.begin("a")
    memory.take(10)
    memory.take(-10)
    assert gauge.end() == 20
    memory.take(-10)
    gauge.begin("a")  # the device was never idle
    assert gauge.end() == 20
    assert gauge.end() == 20
    gauge.begin("a")
    memory.take(5)
    assert gauge.end() == 5


@pytest.mark.parametrize("failed", [False, True])
def test_beside_others_and_after_a_failure_nothing_is_known(
    memory: Memory, gauge: MemoryGauge, failed: bool
) -> None:
    gauge.begin("a")
    gauge.begin("a" if failed else "b")
    memory.take(1000)
    assert gauge.end(failed=failed) is None
    memory.take(-1000)
    assert gauge.end() is None
    gauge.begin("a")
    assert gauge.end() == 0, "from the next idle moment on it is"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED in cublasCreate", torch.OutOfMemoryError),
        ("CUDA error: out of memory", torch.OutOfMemoryError),
        ("DefaultCPUAllocator: can't allocate memory", torch.OutOfMemoryError),
        ("CUDA error: an illegal memory access was encountered", DeviceLost),
        ("CUDA error: device-side assert triggered", DeviceLost),
        ("mat1 and mat2 shapes cannot be multiplied", RuntimeError),
    ],
)
def test_what_an_error_of_torch_means(words: str, kind: type[Exception]) -> None:
    assert type(translated(RuntimeError(words))) is kind


def test_a_network_in_the_way_is_gone_before_the_next_attempt(model: Model) -> None:
    """The engine's own way of trying again: what failed to fit is not held meanwhile."""
    from constellation_pipelines.inference.hot_models import HotModels
    from tests.inference.conftest import PACKAGE

    tried: list[Any] = []

    def take(work: Callable[[], Network]) -> Network:
        if tried:
            assert tried[0]() is None, "the first attempt is still in memory"
            return work()
        return first(work)

    def first(work: Callable[[], Network]) -> Network:
        made = work()
        tried.append(weakref.ref(made))
        raise torch.OutOfMemoryError("no room")

    hot = HotModels(CPU, take)
    assert hot.get(PACKAGE, model.digest).card == replace(model.card)
    assert len(tried) == 1
