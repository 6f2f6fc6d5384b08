"""Overlapping answers become one: each pixel the weighted mean of what its chips say."""

import numpy as np
import torch  # noqa: TID253 - works where the answers are; only the engine imports this module
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253

from constellation_pipelines.geo.stitch import Axis

FEW_CLASSES = 32


class Mosaic:
    """Takes chips and gives back the pixels that are final with each.

    Chips come row by row, or in parts of rows from left to right, each after its left and its upper
    neighbours. Sums are in float32 and always in the same order - left before right, then upper
    before lower - so a pixel's mean depends on nothing else. Only ramps are kept: the lower ones of
    a row of chips over the grid's width, and one right one per row.
    """

    def __init__(self, rows: Axis, columns: Axis, channels: int, device: torch.device) -> None:
        self._rows = rows
        self._columns = columns
        depth = 2 * rows.blend_px
        self._below = torch.zeros((channels, depth, columns.length_px), device=device)
        self._right: dict[int, tuple[int, Tensor]] = {}
        self._down = weights_of(rows, device)
        self._across = weights_of(columns, device)

    @torch.inference_mode()
    def add(self, row: int, column: int, answer: Tensor) -> Tensor:
        """A chip's answer (channels, px, px) -> the mean (channels, height, width) of the pixels
        that it owns, in float32, maybe in the answer's own memory. Pixels of which a neighbour was
        never given come out as anything.
        """
        used = part(answer, self._rows, row, self._columns, column)
        across = self._beside(row, column, used)
        return self._above(row, column, across)

    def _beside(self, row: int, column: int, used: Tensor) -> Tensor:
        """Blend with the left neighbour; keep what the right one needs."""
        axis = self._columns
        ramp, own = 2 * axis.blend_px, axis.owned(column)[1] - axis.used(column)[0]
        result = used[:, :, :own].float()
        if ramp == 0:
            return result
        up, down = self._across
        before = self._right.pop(row, None)
        if before is not None and before[0] == column - 1:
            # The last chip of a row may see less of the grid than the ramp is wide.
            width = min(ramp, own)
            result[:, :, :width].mul_(up[:width]).add_(before[1][:, :, :width])
        if column < axis.count - 1:
            rest = used[:, :, own:].float()
            self._right[row] = (column, rest * down[: rest.shape[2]])
        return result

    def _above(self, row: int, column: int, across: Tensor) -> Tensor:
        """Blend with the upper neighbour; keep what the lower one needs."""
        axis = self._rows
        ramp, own = 2 * axis.blend_px, axis.owned(row)[1] - axis.used(row)[0]
        if ramp == 0:
            return across
        up, down = (one.view(-1, 1) for one in self._down)
        columns = slice(*self._columns.owned(column))
        result = across[:, :own]
        if row > 0:
            height = min(ramp, own)
            result[:, :height].mul_(up[:height]).add_(self._below[:, :height, columns])
        if row < axis.count - 1:
            rest = across[:, own:]
            kept = self._below[:, : rest.shape[1], columns]
            torch.mul(rest, down[: rest.shape[1]], out=kept)
        return result


def weights_of(axis: Axis, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weights over a ramp: of the later chip, of the earlier one."""
    up = torch.from_numpy(axis.ramp()).to(device)
    return up, 1 - up


def part(answer: Tensor, rows: Axis, row: int, columns: Axis, column: int) -> Tensor:
    """The part of a chip's answer that is used; a view."""
    top, left = rows.seen(row)[0], columns.seen(column)[0]
    first, last = rows.used(row)
    start, end = columns.used(column)
    return answer[:, first - top : last - top, start - left : end - left]


@torch.inference_mode()
def best(means: Tensor, values: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Tensor]:
    """Means (classes, height, width), each class's value -> the best class's value and its mean,
    each (height, width); of equal ones the first. What is no number is NaN, and any class.

    On the processor few classes are compared one after the other, and by numpy: a tenth of the time
    of `max`, a third of that of the same in torch.
    """
    if means.device.type != "cpu" or len(means) > FEW_CLASSES:
        top, number = means.max(0)
        return values.take(number.cpu().numpy()), top
    if (values[1:] <= values[:-1]).any():
        numbers, top = best(means, np.arange(len(means), dtype=np.uint8))
        return values.take(numbers), top
    planes = means.numpy()
    top_plane = planes[0].copy()
    found = np.full(top_plane.shape, values[0])
    better = np.empty(top_plane.shape, np.bool_)
    better_by = better.view(np.uint8)
    for value, plane in zip(values[1:], planes[1:], strict=True):
        np.greater(plane, top_plane, out=better)
        np.multiply(better_by, value, out=better_by)
        np.maximum(found, better_by, out=found)  # values ascend: a later one is the larger one
        np.maximum(top_plane, plane, out=top_plane)
    return found, torch.from_numpy(top_plane)


@torch.inference_mode()
def probability(means: Tensor, top: Tensor) -> Tensor:
    """Of the best class: blended logits (classes, height, width) and the largest of each pixel ->
    (height, width). What is no number counts as 0.
    """
    return (means - top).exp_().sum(0).reciprocal_().nan_to_num_(0.0)
