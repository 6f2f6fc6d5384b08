"""A tile's chips without copying them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.chips import margins

Pixels = NDArray[Any]


def rows_of_chips(pixels: Pixels, tile: Window, chip_px: int) -> list[Pixels]:
    """A tile's pixels (bands, height, width) as rows of chips (n, bands, chip_px, chip_px).

    They are views; of a tile that cuts through cells of the chip grid, views of a copy that is
    filled up by mirroring. The chips of all rows cannot be one view: what leads from chip to chip
    is not what leads from row to row.
    """
    padding = margins(tile, chip_px)
    if any(before or after for before, after in padding):
        pixels = np.pad(pixels, ((0, 0), *padding), mode="symmetric")
    bands, height, width = pixels.shape
    cells = pixels.reshape(bands, height // chip_px, chip_px, width // chip_px, chip_px)
    return list(cells.transpose(1, 3, 0, 2, 4))


def chosen(rows: list[Pixels], wanted: NDArray[np.bool_]) -> list[Pixels]:
    """Of these rows' chips those that are wanted (all rows' chips, in order); copies of a row of
    which only some are.
    """
    found = []
    for row, mask in zip(rows, wanted.reshape(len(rows), -1), strict=True):
        if mask.all():
            found.append(row)
        elif mask.any():
            found.append(row[mask])
    return found
