"""Convolutions over a few positions become products of matrices: the same numbers, sooner.

A chip of 64 px is 2 x 2 positions wide where a ResNet-18 ends, with 512 channels and 4.7 MB of
weights for each convolution. A convolution goes over its weights once for each chip, more than a
core's cache holds; a product of matrices goes over them once for all chips of a call. On a Xeon
with AMX that is 4 times as fast, in float32 too.
"""

import copy
from collections import defaultdict

import torch  # noqa: TID253 - a network is torch; only the engine imports this module
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.inference.folding import replace

Size = tuple[int, int]  # height and width

# Weights of a product of whole maps, by those of the convolution: up to here it is worth it.
MOST_GROWTH = 2
# Where copying a kernel's inputs side by side is worth it: weights beyond a core's cache, and few
# positions. Fixed numbers, not measured on the host: a result must not depend on where it is made.
LEAST_WEIGHTS = 1 << 20
MOST_POSITIONS = 16


@torch.inference_mode()
def as_matrices(module: nn.Module, chip: Tensor) -> nn.Module:
    """A copy whose convolutions over a few positions are products; `chip` is one of its inputs.

    The copy is for chips of that height and width. It shares all other parts' weights.
    """
    result = copy.deepcopy(module, {id(one): one for one in module.parameters()})
    for name, size in sizes_seen(result, chip).items():
        conv = result.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        if (product := product_of(conv, size)) is not None:
            replace(result, name, product)
    return result


def sizes_seen(module: nn.Module, chip: Tensor) -> dict[str, Size]:
    """What each convolution is given, by name, where that is always of one size."""
    sizes: dict[str, set[Size]] = defaultdict(set)
    hooks = []
    for name, part in module.named_modules():
        if type(part) is nn.Conv2d:  # not what others derived from it

            def note(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                sizes[name].add((given[0].shape[-2], given[0].shape[-1]))

            hooks.append(part.register_forward_pre_hook(note))
    module(chip)
    for hook in hooks:
        hook.remove()
    return {name: seen.pop() for name, seen in sizes.items() if len(seen) == 1}


def product_of(conv: nn.Conv2d, size: Size) -> nn.Module | None:
    """What does this convolution's work sooner for maps of that size; None where nothing does."""
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    if not plain or isinstance(conv.padding, str):
        return None
    height, width = out_size(conv, size)
    growth = height * width * size[0] * size[1] / (conv.kernel_size[0] * conv.kernel_size[1])
    if growth <= MOST_GROWTH:
        return WholeMap(conv, size)
    if conv.weight.numel() >= LEAST_WEIGHTS and height * width <= MOST_POSITIONS:
        return Columns(conv)
    return None


def out_size(conv: nn.Conv2d, size: Size) -> Size:
    """Height and width of what the convolution gives."""
    pads = pads_of(conv)
    height, width = (
        (size[side] + 2 * pads[side] - conv.kernel_size[side]) // conv.stride[side] + 1
        for side in (0, 1)
    )
    return height, width


def pads_of(conv: nn.Conv2d) -> Size:
    """Rows above and below, columns to the left and right."""
    assert not isinstance(conv.padding, str)
    return conv.padding[0], conv.padding[1]


class WholeMap(nn.Module):
    """All positions of the input by all of the output, zero where the kernel does not reach.

    In channels last both are flat as they lie, so that nothing is copied.
    """

    def __init__(self, conv: nn.Conv2d, size: Size) -> None:
        super().__init__()
        self.length = size[0] * size[1] * conv.in_channels
        self.out = (*out_size(conv, size), conv.out_channels)
        self.weight = nn.Parameter(whole_weight(conv, size), requires_grad=False)
        bias = conv.bias
        repeated = None if bias is None else bias.repeat(self.out[0] * self.out[1])
        self.bias = None if repeated is None else nn.Parameter(repeated, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in, NCHW out, channels last."""
        flat = x.permute(0, 2, 3, 1).reshape(-1, self.length)
        return F.linear(flat, self.weight, self.bias).view(-1, *self.out).permute(0, 3, 1, 2)


def whole_weight(conv: nn.Conv2d, size: Size) -> Tensor:
    """(rows x columns x channels of the output, rows x columns x channels of the input)."""
    height, width = out_size(conv, size)
    whole = conv.weight.new_zeros(height, width, conv.out_channels, *size, conv.in_channels)
    pads = pads_of(conv)
    rows = taps(height, size[0], conv.kernel_size[0], conv.stride[0], pads[0])
    columns = taps(width, size[1], conv.kernel_size[1], conv.stride[1], pads[1])
    for row, tap_row, out_row in rows:
        for column, tap_column, out_column in columns:
            tap = conv.weight[:, :, tap_row, tap_column]
            whole[out_row, out_column, :, row, column, :] = tap
    return whole.reshape(height * width * conv.out_channels, -1)


def taps(outputs: int, inputs: int, kernel: int, stride: int, pad: int) -> list[tuple[int, ...]]:
    """Along one side: input position, place in the kernel and output position that meet."""
    return [
        (at, tap, out)
        for out in range(outputs)
        for tap in range(kernel)
        if 0 <= (at := out * stride + tap - pad) < inputs
    ]


class Columns(nn.Module):
    """Each position's inputs copied side by side, then one product for all positions."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.kernel, self.stride, self.pads = conv.kernel_size, conv.stride, pads_of(conv)
        weight = conv.weight.permute(0, 2, 3, 1).reshape(conv.out_channels, -1).contiguous()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in, NCHW out, channels last."""
        rows, columns = self.pads
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows))
        x = x.unfold(1, self.kernel[0], self.stride[0]).unfold(2, self.kernel[1], self.stride[1])
        count, height, width = x.shape[:3]
        x = x.permute(0, 1, 2, 4, 5, 3).reshape(count * height * width, -1)
        return (
            F.linear(x, self.weight, self.bias).view(count, height, width, -1).permute(0, 3, 1, 2)
        )
