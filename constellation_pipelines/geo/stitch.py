"""Overlapping chips along one side of a grid, and how their answers become one. Pure arithmetic.

Chips stand at multiples of the stride from the grid's first pixel and see `halo_px` more on each
side. Around the border between two of them, answers are blended by a linear ramp; a halo wider than
half a stride is context beyond the ramp. So a pixel has an answer from at most two chips per side,
four in all, and which they are depends on the grid alone, never on tiles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Axis:
    """The chips along one side of a grid that is `length_px` long."""

    length_px: int
    chip_px: int
    halo_px: int

    def __post_init__(self) -> None:
        if self.length_px < 1 or self.halo_px < 0 or self.stride_px < 1:
            raise ValueError(f"no chip has pixels of its own: {self}")

    @property
    def stride_px(self) -> int:
        """From one chip to the next."""
        return self.chip_px - 2 * self.halo_px

    @property
    def count(self) -> int:
        """How many chips there are."""
        return -(-self.length_px // self.stride_px)

    @property
    def blend_px(self) -> int:
        """How far the ramp reaches to either side of a border."""
        return min(self.halo_px, self.stride_px // 2)

    def seen(self, chip: int) -> tuple[int, int]:
        """First pixel a chip sees and the one after its last; both may lie beyond the grid."""
        start = chip * self.stride_px - self.halo_px
        return start, start + self.chip_px

    def inside(self, chip: int) -> tuple[int, int]:
        """What it sees of the grid."""
        start, end = self.seen(chip)
        return max(start, 0), min(end, self.length_px)

    def owned(self, chip: int) -> tuple[int, int]:
        """The pixels of which this chip is the last to know: the grid's, each in exactly one."""
        start = chip * self.stride_px - self.blend_px if chip else 0
        last = chip == self.count - 1
        return start, self.length_px if last else (chip + 1) * self.stride_px - self.blend_px

    def used(self, chip: int) -> tuple[int, int]:
        """The pixels to which this chip contributes: its own, and those of the next ramp."""
        start, end = self.owned(chip)
        return start, min(end + 2 * self.blend_px, self.length_px)

    def touching(self, start_px: int, end_px: int) -> range:
        """The chips that contribute to [start_px, end_px), which lies in the grid."""
        stride, blend = self.stride_px, self.blend_px
        first = max((start_px - blend) // stride, 0)
        last = min((end_px - 1 + blend) // stride, self.count - 1)
        return range(first, last + 1)

    def ramp(self) -> NDArray[np.float32]:
        """Weights of the later chip over a ramp. Those of the earlier are 1 minus these; in float32
        the two add up to exactly 1.
        """
        steps = np.arange(2 * self.blend_px, dtype=np.float32) + np.float32(0.5)
        return steps / np.float32(max(2 * self.blend_px, 1))

    def weights(self, chip: int) -> NDArray[np.float32]:
        """A chip's weight for each of the pixels that it uses."""
        start, end = self.used(chip)
        weights = np.ones(end - start, np.float32)
        ramp = self.ramp()
        if chip > 0:
            weights[: len(ramp)] = ramp[: len(weights)]
        if chip < self.count - 1:
            own = self.owned(chip)[1] - start
            weights[own:] = (1 - ramp)[: len(weights) - own]
        return weights
