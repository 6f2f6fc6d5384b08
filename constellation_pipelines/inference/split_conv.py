"""A convolution behind a concatenation becomes one convolution of each part, and their sum.

In a U-Net two maps are joined only to be convolved. Joining copies both, which took a quarter of
the network's time on the processor; the sum is part of the second convolution's kernel.
"""

from typing import Any

import torch  # noqa: TID253 - a network is torch; only the engine imports this module
from torch import Tensor, fx, nn  # noqa: TID253
from torch.fx.passes.shape_prop import ShapeProp  # noqa: TID253

from constellation_pipelines.inference.folding import Tracer

# Of either part. With fewer, the processor's matrix units would be mostly empty.
LEAST_CHANNELS = 16


@torch.inference_mode()
def split_convs(module: nn.Module, chip: Tensor) -> nn.Module:
    """The same network without such concatenations; `chip` is one of its inputs.

    The network itself where there are none, or where its way depends on its input.
    """
    try:
        graph = Tracer().trace(module)
    except Exception:  # whatever a foreign network does while it is traced
        return module
    found = fx.GraphModule(module, graph)
    pairs = [(node, parts) for node in graph.nodes if (parts := joined_parts(node, found))]
    if not pairs:
        return module
    ShapeProp(found).propagate(chip)
    for node, parts in pairs:
        channels = [part.meta["tensor_meta"].shape[1] for part in parts]
        if min(channels) >= LEAST_CHANNELS:
            split(found, node, parts, channels)
    graph.eliminate_dead_code()
    graph.lint()
    found.recompile()
    return found.eval()


def joined_parts(node: fx.Node, module: fx.GraphModule) -> list[fx.Node]:
    """The two maps whose channels this convolution sees joined; none where it is another step."""
    if node.op != "call_module" or type(part := module.get_submodule(str(node.target))) is not (
        nn.Conv2d
    ):
        return []
    joined = node.args[0] if node.args else None
    if part.groups != 1 or not isinstance(joined, fx.Node) or joined.target is not torch.cat:
        return []
    parts: Any = joined.args[0] if joined.args else None
    dim = joined.args[1] if len(joined.args) > 1 else joined.kwargs.get("dim", 0)
    alone = len(joined.users) == 1 and isinstance(parts, (list, tuple)) and len(parts) == 2
    return list(parts) if alone and dim in (1, -3) else []


def split(module: fx.GraphModule, node: fx.Node, parts: list[fx.Node], channels: list[int]) -> None:
    """Put a convolution of each part, and their sum, in the place of one of both."""
    conv = module.get_submodule(str(node.target))
    assert isinstance(conv, nn.Conv2d)
    weights = torch.split(conv.weight, channels, 1)
    terms = []
    with module.graph.inserting_before(node):
        for number, (part, weight) in enumerate(zip(parts, weights, strict=True)):
            name = f"{node.name}_{number}"
            module.add_submodule(name, with_weight(conv, weight, bias=number == 0))
            terms.append(module.graph.call_module(name, (part,)))
        total = module.graph.call_function(torch.add, tuple(terms))
    node.replace_all_uses_with(total)
    module.graph.erase_node(node)


def with_weight(conv: nn.Conv2d, weight: Tensor, *, bias: bool) -> nn.Conv2d:
    """A convolution like that one, of fewer channels."""
    part = nn.Conv2d(
        weight.shape[1],
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        bias=False,
        padding_mode=conv.padding_mode,
        device="meta",
    )
    held = weight.contiguous(memory_format=torch.channels_last)
    part.weight = nn.Parameter(held, requires_grad=False)
    part.bias = conv.bias if bias else None
    return part
