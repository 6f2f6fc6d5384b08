"""The mean of whole maps becomes a pooling, which torch's fused graph has a kernel for.

The mean itself stays outside the graph: two sums, copies between types and a division for each.
"""

from typing import Any

import torch  # noqa: TID253 - a network is torch; only the engine imports this module
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor, fx, nn  # noqa: TID253
from torch.fx.passes.shape_prop import ShapeProp  # noqa: TID253

from constellation_pipelines.inference.folding import Tracer

MAPS = ((2, 3), (-2, -1))


@torch.inference_mode()
def pooled_means(module: nn.Module, chip: Tensor) -> nn.Module:
    """The same network for chips of that height and width; `chip` is one of its inputs.

    The network itself where it takes no such mean, or where its way depends on its input.
    """
    try:
        graph = Tracer().trace(module)
    except Exception:  # whatever a foreign network does while it is traced
        return module
    means = [node for node in graph.nodes if is_mean_of_maps(node)]
    if not means:
        return module
    found = fx.GraphModule(module, graph)
    ShapeProp(found).propagate(chip)
    for node in means:
        shape = node.args[0].meta["tensor_meta"].shape
        if len(shape) == 4:
            pool(graph, node, tuple(shape[2:]))
    graph.lint()
    found.recompile()
    return found.eval()


def is_mean_of_maps(node: fx.Node) -> bool:
    """Whether this is x.mean((2, 3)), with or without keeping the sides."""
    if node.op != "call_method" or node.target != "mean":
        return False
    named = dict(zip(("dim", "keepdim"), node.args[1:], strict=False)) | node.kwargs
    dim: Any = named.get("dim")
    known = set(named) <= {"dim", "keepdim"} and isinstance(dim, (tuple, list))
    return known and tuple(dim) in MAPS


def pool(graph: fx.Graph, node: fx.Node, size: tuple[int, ...]) -> None:
    """Put a pooling over the whole map in the place of its mean."""
    keeps = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
    with graph.inserting_before(node):
        # The stride is named: the fused graph has none by default.
        pooled = graph.call_function(F.avg_pool2d, (node.args[0], size, size))
        result = pooled if keeps else graph.call_method("flatten", (pooled, 1))
    node.replace_all_uses_with(result)
    graph.erase_node(node)
