"""Depthwise convolutions that learn at a processor's speed.

oneDNN has no fast kernel for the gradients of a depthwise convolution with a stride, nor for those
of 5 x 5 weights: in bfloat16 they take 30 times as long as the convolution itself, and three
quarters of a step of an EfficientNet. Here both are made of what it has fast kernels for: a
gradient with zeros between its values is that of a stride of 1, and four windows of 3 x 3 cover one
of 5 x 5. A step of efficientnet-lite0 takes half of the time.
"""

from typing import Any

import torch  # noqa: TID253 - training is torch; only the training assets import this module
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.inference.folding import replace

KERNELS = (3, 5)


class DepthwiseFunction(torch.autograd.Function):
    """One kernel (channels, 1, k, k) per channel of maps (n, channels, height, width)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """What conv2d gives; k is 3 or 5."""
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(maps, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of the maps and of the weight."""
        maps, weight = ctx.saved_tensors
        side, channels = weight.shape[-1], len(weight)
        padded = F.pad(maps, (ctx.padding,) * 4)
        grad = spread(grads[0], ctx.stride, [size - side + 1 for size in padded.shape[2:]])
        turned = weight.flip(2, 3)
        of_maps = F.conv2d(grad, turned, None, 1, side - 1 - ctx.padding, 1, channels)
        return of_maps, of_weight(padded, weight, grad), None, None


def spread(grad: Tensor, stride: int, size: list[int]) -> Tensor:
    """A gradient (n, channels, h, w) as that of a stride of 1 (n, channels, *size): zeros where
    nothing was computed.
    """
    if stride == 1:
        return grad.contiguous(memory_format=torch.channels_last)
    result = grad.new_zeros((*grad.shape[:2], *size)).to(memory_format=torch.channels_last)
    result[:, :, ::stride, ::stride] = grad
    return result


def of_weight(padded: Tensor, weight: Tensor, grad: Tensor) -> Tensor:
    """The gradient of a weight (channels, 1, k, k), 3 x 3 values at a time."""
    result = torch.empty_like(weight)
    part, last = weight[:, :, :3, :3].contiguous(), weight.shape[-1] - 3
    height, width = grad.shape[2:]
    for top in {0, last}:
        for left in {0, last}:
            seen = padded[:, :, top : top + height + 2, left : left + width + 2]
            _, found, _ = torch.ops.aten.convolution_backward(
                grad,
                seen.contiguous(memory_format=torch.channels_last),
                part,
                None,
                [1, 1],
                [0, 0],
                [1, 1],
                False,
                [0, 0],
                len(weight),
                [False, True, False],
            )
            result[:, :, top : top + 3, left : left + 3] = found
    return result


class Depthwise(nn.Module):
    """The same as a depthwise convolution, whose weight it takes over."""

    def __init__(self, conv: nn.Conv2d, *, pads_as_needed: bool) -> None:
        """`pads_as_needed`: as many rows as give each output, more of them below, as TensorFlow."""
        super().__init__()
        assert not isinstance(conv.padding, str)
        self.weight = conv.weight
        self.stride, self.padding = conv.stride[0], conv.padding[0]
        self.pads_as_needed = pads_as_needed

    def forward(self, maps: Tensor) -> Tensor:
        """NCHW in, NCHW out."""
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            maps, weight = maps.to(dtype), weight.to(dtype)
        if self.pads_as_needed:
            maps = F.pad(maps, (*self._pads(maps.shape[3]), *self._pads(maps.shape[2])))
        if not torch.is_grad_enabled():
            return F.conv2d(maps, weight, None, self.stride, self.padding, 1, len(weight))
        found: Tensor = DepthwiseFunction.apply(  # type: ignore[no-untyped-call]
            maps, weight, self.stride, self.padding
        )
        return found

    def _pads(self, size: int) -> tuple[int, int]:
        count = -(-size // self.stride)
        total = max((count - 1) * self.stride + self.weight.shape[-1] - size, 0)
        return total // 2, total - total // 2


def with_fast_depthwise(network: nn.Module) -> nn.Module:
    """The network itself, its depthwise convolutions of 3 x 3 and 5 x 5 replaced. The names of its
    weights stay the same.
    """
    for name, part in list(network.named_modules()):
        if isinstance(part, nn.Conv2d) and suits(part):
            replace(network, name, Depthwise(part, pads_as_needed=is_same(part)))
    return network


def suits(conv: nn.Conv2d) -> bool:
    """Whether it is a plain depthwise convolution with a kernel of 3 x 3 or 5 x 5."""
    known = type(conv) is nn.Conv2d or is_same(conv)
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1
    square = {*conv.stride, 0} == {conv.stride[0], 0} and len(set(conv.kernel_size)) == 1
    plain = conv.bias is None and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    padded = not isinstance(conv.padding, str) and len(set(conv.padding)) == 1
    return known and depthwise and square and plain and padded and conv.kernel_size[0] in KERNELS


def is_same(conv: nn.Conv2d) -> bool:
    """Whether it is timm's convolution that pads as TensorFlow does."""
    return type(conv).__name__ == "Conv2dSame"
