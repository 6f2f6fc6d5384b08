"""What an exported program may compute with: operators that make numbers of numbers.

None of them reads a file, takes memory as it finds it, or draws at random. The list holds what
torchvision's and timm's networks of many kinds were exported to, and their near relatives.
"""

import operator
import re
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - only the engine imports this module

TARGET = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]{1,64})\.([A-Za-z0-9_]{1,64})")

# They check what was assumed at export; our input has the card's shape anyway.
CHECKS = frozenset({"_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range_for_size"})

VIEWS = frozenset(
    """
    alias chunk contiguous detach detach_ expand expand_as flatten movedim narrow permute reshape
    select slice split split_with_sizes squeeze t to transpose type_as unbind unflatten unsqueeze
    view view_as
    """.split()
)

MAKERS = frozenset(  # make tensors of a type of their own
    """
    arange eye full full_like linspace new_full new_ones new_zeros ones ones_like scalar_tensor
    zeros zeros_like
    """.split()
)

FUNCTIONS = frozenset(
    """
    abs adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d add addmm amax amin argmax
    argmin atan2 avg_pool2d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bmm cat ceil celu
    clamp clamp_max clamp_min clone concat constant_pad_nd conv1d conv2d conv_transpose2d
    convolution cos cumsum div dropout einsum elu embedding eq erf exp flip floor floor_divide
    gather ge gelu glu grid_sampler group_norm gt hardsigmoid hardswish hardtanh im2col index
    index_select instance_norm isnan layer_norm le leaky_relu lift_fresh_copy linalg_vector_norm
    linear log log1p log2 log_softmax logical_and logical_not logical_or logsumexp lt masked_fill
    matmul max max_pool2d max_pool2d_with_indices maximum mean meshgrid min minimum mish mm mul
    native_group_norm native_layer_norm _native_batch_norm_legit_no_training ne neg norm pad
    pixel_shuffle pixel_unshuffle pow prelu prod reciprocal reflection_pad2d relu relu6 remainder
    repeat repeat_interleave replication_pad2d rms_norm roll rsqrt rsub
    scaled_dot_product_attention selu sigmoid sign silu sin softmax _softmax softplus sqrt square
    stack std sub sum sym_size tanh tile _to_copy unfold upsample_bicubic2d upsample_bilinear2d
    upsample_nearest2d var var_mean where
    """.split()
)

IN_PLACE = frozenset(
    """
    add_ celu_ clamp_ clamp_max_ clamp_min_ copy_ div_ dropout_ elu_ fill_ hardsigmoid_ hardswish_
    hardtanh_ leaky_relu_ masked_fill_ mish_ mul_ relu6_ relu_ selu_ sigmoid_ silu_ sub_ tanh_
    zero_
    """.split()
)

ALLOWED = VIEWS | MAKERS | FUNCTIONS | IN_PLACE

LARGEST_WHOLE = 1 << 48  # sizes are multiplied again and again; no tensor is larger than this


def whole(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A computation with sizes whose result stays within what a size can be."""

    def bounded(*values: Any) -> Any:
        result = compute(*values)
        if not isinstance(result, bool | int) or abs(result) > LARGEST_WHOLE:
            raise ValueError("a size is out of range")
        return result

    return bounded


ARITHMETIC: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": whole(getattr(operator, name))
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
}


def find(target: str) -> Callable[..., Any] | None:
    """The function behind a target, None where it is not allowed."""
    if target in ARITHMETIC:
        return ARITHMETIC[target]
    base, overload = name_of(target)
    if base not in ALLOWED or "out" in overload.split("_"):
        return None
    packet = getattr(torch.ops.aten, base, None)
    if packet is None or overload not in packet.overloads():
        return None
    found: Callable[..., Any] = getattr(packet, overload)
    return found


def name_of(target: str) -> tuple[str, str]:
    """An operator's name and overload; two empty texts where the target is none of aten's."""
    match = TARGET.fullmatch(target)
    return (match[1], match[2]) if match else ("", "")
