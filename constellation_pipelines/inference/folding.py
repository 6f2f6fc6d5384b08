"""Batch norms become part of the convolutions before them: the same numbers with less work."""

import copy
from collections import Counter
from typing import Any

from torch import fx, nn  # noqa: TID253 - a network is torch; only the engine imports this module
from torch.nn.utils.fusion import fuse_conv_bn_eval  # noqa: TID253

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy in eval mode without the batch norms that directly follow a convolution.

    Which do is read off the network's own graph, so that it holds for any network. One whose way
    depends on its input has no such graph and stays as it is: slower, never wrong.
    """
    folded = copy.deepcopy(module).eval()
    for conv, norm in foldable(folded):
        first, second = folded.get_submodule(conv), folded.get_submodule(norm)
        replace(folded, conv, fused(first, second))
        replace(folded, norm, rest_of(second))
    return folded


class Tracer(fx.Tracer):
    """Follows a network down to convolutions and norms, whoever wrote their classes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """What is not looked into."""
        leaf = isinstance(m, (*CONVOLUTIONS, nn.BatchNorm2d))
        return leaf or super().is_leaf_module(m, module_qualified_name)


def foldable(module: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and norms where nothing else sees what goes from one to the other."""
    try:
        graph = Tracer().trace(module)
    except Exception:  # whatever a foreign network does while it is traced
        return []
    parts: dict[str, Any] = dict(module.named_modules(remove_duplicate=False))
    owners = Counter(id(part) for part in parts.values())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = []
    for node in graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node):
            continue
        names = (str(before.target), str(node.target))
        if before.op != "call_module" or len(before.users) != 1:
            continue
        once = all(calls[name] == 1 and owners[id(parts[name])] == 1 for name in names)
        if once and suits(parts[names[0]], parts[names[1]]):
            found.append(names)
    return found


def suits(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether these two can be one convolution."""
    return (
        type(conv) in CONVOLUTIONS
        and isinstance(norm, nn.BatchNorm2d)
        and norm.running_mean is not None
        and norm.running_var is not None
        and (not isinstance(conv, nn.ConvTranspose2d) or conv.groups == 1)
    )


def fused(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """One convolution that does the work of both."""
    upsamples = isinstance(conv, nn.ConvTranspose2d)
    found: nn.Module = fuse_conv_bn_eval(conv, norm, upsamples)  # type: ignore[type-var,arg-type]
    return found


def rest_of(norm: nn.Module) -> nn.Module:
    """What a norm does beside norming: timm's have an activation of their own."""
    if isinstance(act := getattr(norm, "act", None), nn.Module):
        return act
    return nn.Identity()


def replace(module: nn.Module, name: str, part: nn.Module) -> None:
    """Put another part in the place of the one of this name."""
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, part)
