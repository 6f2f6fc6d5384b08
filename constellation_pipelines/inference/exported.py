"""`torch.export` programs, read by our own small reader and run operator by operator.

Torch's loader is not used: it unpickles parts of an archive and evaluates expressions in it as
Python. Nothing of either is here. Expressions stand only beside shapes, which we do not need.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.exported_archive import ExportedArchive, Payload, shown
from constellation_pipelines.inference.exported_folding import fold
from constellation_pipelines.inference.exported_graph import Graph, Step, Value, read_graph
from constellation_pipelines.inference.fixed_batch import FixedBatch

KINDS = ("weights", "constants")
MOST_REPEATED = 1 << 24  # elements of a tensor whose bytes stand for several of its elements
TYPES = {  # by their numbers in the archive's schema
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    7: torch.float32,
    12: torch.bool,
}


def load_exported(path: Path, card: ModelCard) -> nn.Module:
    """The program of an archive. Raises ModelRefused for anything but numbers and known operators.

    A program that was exported for one size of batch is run with batches of that size.
    """
    with ExportedArchive(path) as archive:
        graph = read_graph(archive, archive.json(f"models/{archive.model}.json"))
        payloads = {(kind, p.name): p for kind in KINDS for p in archive.payloads(kind)}
        storages: dict[str, Tensor] = {}
        tensors = {}
        for name, source in graph.held.items():
            payload = payloads.get(source)
            if payload is None:
                raise archive.refused(f"has no numbers for {shown(source[1])}")
            tensors[name] = tensor_of(archive, payload, storages)
    check_input(path, graph, card)
    program = Program(*fold(graph, tensors)).eval()
    return program if graph.batch is None else FixedBatch(program, graph.batch)


def tensor_of(archive: ExportedArchive, payload: Payload, storages: dict[str, Tensor]) -> Tensor:
    """A tensor that lies wholly within its entry. Entries are read once."""
    dtype = TYPES.get(payload.dtype)
    if dtype is None:
        raise archive.refused(f"holds {shown(payload.name)} in another type than float32 or whole")
    if payload.file not in storages:
        storages[payload.file] = storage_of(archive.read(payload.file), dtype)
    storage = storages[payload.file]
    sizes, strides = payload.sizes, payload.strides
    last = payload.offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=False))
    empty = 0 in sizes
    if len(sizes) != len(strides) or storage.dtype != dtype:
        raise archive.refused(f"does not say how {shown(payload.name)} lies in memory")
    if not empty and last >= storage.numel():
        raise archive.refused(f"holds fewer numbers than {shown(payload.name)} has")
    if math.prod(max(size, 1) for size in sizes) > max(storage.numel(), MOST_REPEATED):
        raise archive.refused(f"repeats the numbers of {shown(payload.name)} too often")
    if empty:
        return torch.zeros(sizes, dtype=dtype)
    tensor = storage.as_strided(sizes, strides, payload.offset)
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise archive.refused(f"holds values that are no numbers in {shown(payload.name)}")
    return tensor.contiguous()


def storage_of(content: bytes, dtype: torch.dtype) -> Tensor:
    """Bytes as numbers of this type; what is left over at their end is not used."""
    count = len(content) // dtype.itemsize
    if count == 0:
        return torch.zeros(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype, count=count)


def check_input(path: Path, graph: Graph, card: ModelCard) -> None:
    """Refuse a program that was exported for other chips than the card's."""
    expected = (len(card.bands), card.chip_px, card.chip_px)
    said = graph.input_sizes
    fits = len(said) == 4 and all(
        size is None or size == wanted for size, wanted in zip(said[1:], expected, strict=True)
    )
    if not fits:
        raise ModelRefused(
            f"{path.name} was exported for input of {list(said)} (None: any), and the card says "
            f"{[-1, *expected]}",
            field="properties.mlm:input[0].input.shape",
        )


class Program(nn.Module):
    """Runs a graph's steps in their order; each value is forgotten after its last use."""

    def __init__(self, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.graph = graph
        self._held: dict[str, str] = {}
        for number, (name, tensor) in enumerate(tensors.items()):
            self._held[name] = f"held_{number}"
            if tensor.is_floating_point():
                parameter = nn.Parameter(tensor, requires_grad=False)
                self.register_parameter(self._held[name], parameter)
            else:
                self.register_buffer(self._held[name], tensor)

    def _apply(self, fn: Any, recurse: bool = True) -> "Program":
        """As of any module, save that a program that names float32 itself keeps it."""
        if not self.graph.names_types:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            return self

        def moved(tensor: Tensor) -> Tensor:
            there: Tensor = fn(tensor)
            return there if there.dtype == tensor.dtype else tensor.to(there.device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, chips: Tensor) -> Tensor:
        """Normalised chips (n, bands, px, px) -> the program's one output."""
        first = next(self.parameters(), None)
        dtype = torch.float32 if first is None else first.dtype
        values: dict[str, Any] = {name: getattr(self, at) for name, at in self._held.items()}
        values[self.graph.input] = chips.to(dtype)
        for step in self.graph.steps:
            run_step(step, values, chips.device)
        result = values[self.graph.output]
        if not isinstance(result, Tensor):
            raise ModelRefused("the program's output is no tensor")
        return result


def run_step(step: Step, values: dict[str, Any], device: torch.device) -> None:
    """Compute one step from the values so far, and put its results among them."""
    arguments = [resolved(argument, values, device) for argument in step.arguments]
    keywords = {name: resolved(value, values, device) for name, value in step.keywords.items()}
    result = step.function(*arguments, **keywords)
    if step.several:
        values.update(zip(step.outputs, result, strict=True))
    else:
        values[step.outputs[0]] = result
    for name in step.last_uses:
        del values[name]


def resolved(argument: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    """An argument with values in the place of their names."""
    if isinstance(argument, Value):
        return device if argument.is_device else values[argument.name]
    if isinstance(argument, list):
        return [resolved(member, values, device) for member in argument]
    return argument
