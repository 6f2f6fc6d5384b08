"""A network as one graph of fused kernels, where torch has them for this processor.

oneDNN's graph compiler takes a convolution, its activation and the sum behind it as one kernel and
keeps the layout it likes best from one to the next. On a Xeon with AMX, in bfloat16 and on one
thread, that is 2 times the chips of the same module run step by step for a small ResNet-18 and for
a U-Net, and 1.3 times for the usual ResNet-18. torch.compile, which torch recommends in its stead,
needs a C++ compiler on the host, takes ten times as long to begin and gained less.
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.inference.matrix_conv import as_matrices
from constellation_pipelines.inference.pooled_mean import pooled_means
from constellation_pipelines.inference.split_conv import split_convs

Forward = Callable[[Tensor], Tensor]

WARM_UP_RUNS = 3  # the graph is compiled in the second
# The most that a graph's numbers may differ from the module's own, in parts of the largest.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.06}

log = logging.getLogger(__name__)


@torch.inference_mode()
def fused(module: nn.Module, example: Tensor) -> Forward:
    """The module, in eval mode on the processor, for batches of the example's shape and type.

    The example should hold noise, not zeros: what the graph makes of it is compared with what the
    module makes of it, and the module itself is returned where they differ, or where the module
    cannot be traced. The graph takes (n, bands, height, width) contiguous as well as channels last
    at the same speed, and may be called from several threads at once. Another batch size works, but
    is compiled anew.
    """
    tolerance = TOLERANCES.get(example.dtype)
    if example.device.type != "cpu" or tolerance is None:
        return module
    expected = module(example)
    try:
        graph = traced(rewritten(module, example[:1]), example)
        for _ in range(WARM_UP_RUNS):
            found = graph(example)
    except Exception as error:  # whatever a foreign network makes of being traced
        log.info("not fused: %s", str(error).partition("\n")[0])
        return module
    if not agree(found, expected, tolerance):
        log.warning("not fused: the graph does not say what the network says")
        return module
    return graph


def rewritten(module: nn.Module, chip: Tensor) -> nn.Module:
    """The same function in steps that suit a processor, for chips of that size."""
    return as_matrices(pooled_means(split_convs(module, chip), chip), chip)


def traced(module: nn.Module, example: Tensor) -> Forward:
    """The module's graph, its weights frozen into it."""
    torch.jit.enable_onednn_fusion(True)
    with warnings.catch_warnings():
        # torch.jit is on its way out; the version is pinned, and without it modules run as before.
        warnings.simplefilter("ignore")
        jit: Any = torch.jit
        graph: Forward = jit.freeze(jit.trace(module, example, check_trace=False))
    return graph


def agree(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two answers are the same but for rounding."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    most = expected.abs().max().item()
    return bool((found - expected).abs().max().item() <= tolerance * most)
