"""Batch norms of an exported program become part of the convolutions before them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor  # noqa: TID253

from constellation_pipelines.inference.exported_graph import (
    Graph,
    Step,
    Value,
    values_in,
    with_last_uses,
)

EPS, TRAINING = 7, 5  # places among batch_norm's arguments


def fold(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[Graph, dict[str, Tensor]]:
    """The same program with fewer steps, and the tensors it needs then.

    A norm is folded where nothing else uses what the convolution gives, nor its weight.
    """
    used = uses(graph.steps, graph.output)
    tensors = dict(tensors)
    steps: list[Step] = []
    made_by: dict[str, int] = {}  # value -> place of its step
    for step in graph.steps:
        at = made_by.get(name_of(step.arguments[0])) if step.operator == "batch_norm" else None
        folded = None if at is None else fold_pair(steps[at], step, tensors, used)
        if at is not None and folded is not None:
            steps[at] = folded
            made_by[folded.outputs[0]] = at
            continue
        steps.append(step)
        made_by.update(dict.fromkeys(step.outputs, len(steps) - 1))
    kept = uses(steps, graph.output)
    tensors = {name: tensor for name, tensor in tensors.items() if kept[name]}
    return replace(graph, steps=with_last_uses(steps, graph.output)), tensors


def fold_pair(
    conv: Step, norm: Step, tensors: dict[str, Tensor], used: Counter[str]
) -> Step | None:
    """One convolution that does the work of both, its numbers put into `tensors`; None if none."""
    if conv.operator != "conv2d" or conv.keywords or norm.keywords or len(norm.arguments) <= EPS:
        return None
    weight = name_of(conv.arguments[1])
    parts = [*norm.arguments[1:5], *(conv.arguments[2:3] or [None])]
    gain, shift, mean, variance, bias = (tensors.get(name_of(part)) for part in parts)
    known = all(part is None or name_of(part) in tensors for part in parts)
    alone = used[conv.outputs[0]] == 1 and used[weight] == 1 and weight in tensors
    if not (known and alone) or mean is None or variance is None or norm.arguments[TRAINING]:
        return None
    factor = torch.rsqrt(variance + norm.arguments[EPS]) * (1 if gain is None else gain)
    start = torch.zeros_like(mean) if bias is None else bias
    tensors[weight] = tensors[weight] * factor.reshape(-1, 1, 1, 1)
    tensors[f"{weight} bias"] = (start - mean) * factor + (0 if shift is None else shift)
    arguments = [*conv.arguments[:2], Value(f"{weight} bias"), *conv.arguments[3:]]
    return replace(conv, arguments=arguments, outputs=norm.outputs)


def uses(steps: "tuple[Step, ...] | list[Step]", output: str) -> Counter[str]:
    """How often each value is named."""
    counted = Counter([output])
    for step in steps:
        arguments = [*step.arguments, *step.keywords.values()]
        counted.update(value.name for value in values_in(arguments))
    return counted


def name_of(argument: object) -> str:
    """The name of a value, an empty text for any other argument."""
    return argument.name if isinstance(argument, Value) else ""
