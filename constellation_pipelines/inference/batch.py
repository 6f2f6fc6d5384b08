"""Chips on their way from what was read to the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window

Chips = tuple[NDArray[Any], NDArray[np.bool_] | None]


@dataclass(frozen=True, slots=True)
class Cut:
    """Chips that were cut together.

    `pixels` are as stored, in parts (n, bands, px, px) one after the other: views of what was read
    where that can be, since a copy would cost as much as normalising. `holes` (n, px, px) says of
    all chips which pixels hold data, or is None where all do. `tiles` are, per chip, the tiles that
    wait for it. `key` is whatever their maker knows them by.
    """

    pixels: Sequence[NDArray[Any]]
    holes: NDArray[np.bool_] | None
    tiles: Sequence[tuple[Window, ...]]
    key: Any

    def __len__(self) -> int:
        return len(self.tiles)

    def pieces(self, start: int, end: int) -> Iterator[Chips]:
        """Pixels (n, bands, px, px) and holes (n, px, px) of the chips [start, end), uncopied."""
        passed = 0
        for part in self.pixels:
            low, high = max(start - passed, 0), min(end - passed, len(part))
            if low < high:
                holes = self.holes
                yield part[low:high], holes if holes is None else holes[passed:][low:high]
            passed += len(part)


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

    def pieces(self) -> Iterator[Chips]:
        """Pixels (n, bands, px, px) and holes (n, px, px), run by run, uncopied."""
        for cut, start, end in self.runs:
            yield from cut.pieces(start, end)
