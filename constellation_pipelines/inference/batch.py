"""Chips on their way from a tile's pixels to the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window


@dataclass(frozen=True, slots=True)
class Cut:
    """Chips that were cut together.

    `pixels` (n, bands, px, px) are as stored, `holes` (n, px, px) says which of them hold data, or
    is None where all do. `tiles` are, per chip, the tiles that wait for it. `key` is whatever their
    maker knows them by.
    """

    pixels: NDArray[Any]
    holes: NDArray[np.bool_] | None
    tiles: Sequence[tuple[Window, ...]]
    key: Any

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class Batch:
    """Chips to infer together: runs of neighbours, each as a cut, its first chip and the end."""

    runs: tuple[tuple[Cut, int, int], ...]

    def __len__(self) -> int:
        return sum(end - start for _, start, end in self.runs)

    @property
    def tiles(self) -> tuple[Window, ...]:
        """The tiles that wait for these chips, in order."""
        return tuple(
            sorted(
                {tile for cut, start, end in self.runs for i in cut.tiles[start:end] for tile in i}
            )
        )

    def part(self, start: int, end: int) -> "Batch":
        """The chips [start, end) of it."""
        runs, passed = [], 0
        for cut, first, last in self.runs:
            low, high = max(start - passed, 0), min(end - passed, last - first)
            if low < high:
                runs.append((cut, first + low, first + high))
            passed += last - first
        return Batch(tuple(runs))

    def pixels(self) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Pixels (n, bands, px, px) and holes (n, px, px); without a copy where they are one run.

        Holes are None where every pixel holds data.
        """
        parts = [cut.pixels[start:end] for cut, start, end in self.runs]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if all(cut.holes is None for cut, _, _ in self.runs):
            return pixels, None
        shape = pixels.shape[2:]
        holes = [
            np.ones((end - start, *shape), np.bool_) if cut.holes is None else cut.holes[start:end]
            for cut, start, end in self.runs
        ]
        return pixels, np.concatenate(holes)
