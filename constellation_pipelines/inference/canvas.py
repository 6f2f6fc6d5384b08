"""The pixels that a row of chips sees: what was read lately, block by block."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.dense_plan import common, within
from constellation_pipelines.inference.source import Source

# What a chip sees of the grid, and how far it reaches beyond that above and to the left.
Edged = tuple[Window, int, int]


@dataclass(frozen=True, slots=True)
class Block:
    """Pixels (bands, height, width) of a window; which hold data, None where all do."""

    window: Window
    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class Row:
    """Blocks that stand side by side, from left to right, and where each begins."""

    top: int
    blocks: list[Block] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)


class Canvas:
    """The last rows of blocks, as they were read: nothing is moved, and nothing written over."""

    def __init__(self, bands: int, dtype: Any, step_px: int, chip_px: int) -> None:
        """`step_px` rows are read at once; chips reach up to `chip_px` rows above them."""
        self._bands = bands
        self._dtype = dtype
        self._rows: deque[Row] = deque(maxlen=1 + -(-chip_px // step_px))

    def paint(self, window: Window, source: Source) -> None:
        """Read a window: from left to right, then from top to bottom. Raises ReadFailed; what was
        not read holds no data.
        """
        if not self._rows or self._rows[-1].top != window.row_off_px:
            self._rows.append(Row(window.row_off_px))
        pixels, valid = source.read(window)
        row = self._rows[-1]
        row.blocks.append(Block(window, pixels, None if valid.all() else valid))
        row.starts.append(window.col_off_px)

    def any_valid(self, window: Window) -> bool:
        """Whether a window has pixels that hold data."""
        return any(
            block.valid is None or bool(block.valid[within(shared, block.window)].any())
            for block, shared in self._parts(window)
        )

    def all_valid(self, window: Window) -> bool:
        """Whether all pixels of a window hold data."""
        left = window.height_px * window.width_px
        for block, shared in self._parts(window):
            if block.valid is not None and not block.valid[within(shared, block.window)].all():
                return False
            left -= shared.height_px * shared.width_px
        return left == 0

    def chips(self, edged: Sequence[Edged], chip_px: int) -> NDArray[Any]:
        """Chips (n, bands, px, px), mirrored where they reach beyond the grid."""
        found = np.empty((len(edged), self._bands, chip_px, chip_px), self._dtype)
        for chip, (inside, above, left) in zip(found, edged, strict=True):
            seen = chip[:, above : above + inside.height_px, left : left + inside.width_px]
            for block, shared in self._parts(inside):
                to, of = within(shared, inside), within(shared, block.window)
                seen[:, *to] = block.pixels[:, *of]
            mirror(chip, above, left, inside)
        return found

    def holes(self, edged: Sequence[Edged], chip_px: int) -> NDArray[np.bool_]:
        """The same of which pixels hold data (n, px, px)."""
        found = np.zeros((len(edged), chip_px, chip_px), np.bool_)
        for chip, (inside, above, left) in zip(found, edged, strict=True):
            seen = chip[above : above + inside.height_px, left : left + inside.width_px]
            for block, shared in self._parts(inside):
                valid = True if block.valid is None else block.valid[within(shared, block.window)]
                seen[within(shared, inside)] = valid
            mirror(chip[None], above, left, inside)
        return found

    def _parts(self, window: Window) -> Iterator[tuple[Block, Window]]:
        """What a window shares with each of the blocks."""
        for row in self._rows:
            first = max(bisect_right(row.starts, window.col_off_px) - 1, 0)
            last = bisect_right(row.starts, window.col_end_px - 1)
            for block in row.blocks[first:last]:
                shared = common(window, block.window)
                if shared is not None:
                    yield block, shared


def mirror(chip: NDArray[Any], above: int, left: int, inside: Window) -> None:
    """Fill a chip (bands, px, px) up around the pixels that it has, by mirroring at their edges."""
    fill(chip[:, above : above + inside.height_px], left, inside.width_px)
    fill(chip.swapaxes(1, 2), above, inside.height_px)


def fill(chip: NDArray[Any], first: int, length: int) -> None:
    """The same along the last axis, where the pixels are the `length` from `first` on."""
    after = chip.shape[2] - first - length
    if first > length or after > length:  # mirrored more than once
        around = (np.arange(chip.shape[2]) - first) % (2 * length)
        chip[:] = chip[:, :, first + np.where(around < length, around, 2 * length - 1 - around)]
        return
    if first:
        chip[:, :, :first] = chip[:, :, first : 2 * first][:, :, ::-1]
    if after:
        end = first + length
        chip[:, :, end:] = chip[:, :, end - after : end][:, :, ::-1]
