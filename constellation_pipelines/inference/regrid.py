"""From the grid that a model worked on back to the scene's own.

Both have the same CRS and cover the same ground, and their axes run alike, so that a row of one
lies in rows of the other: whole rows are taken and mixed, a few at a time.
"""

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.inference.cog import Rows

MOST_ROWS = 1024  # of the working grid to have at once
Places = NDArray[np.float64]


def regridded(rows: Rows, worked: Grid, scene: Grid, *, smooth: bool) -> Rows:
    """Rows of the scene's grid from rows of the grid worked on: nearest pixel, or bilinear.

    Bilinear leaves NaN out, and gives NaN where the nearest pixel is NaN.
    """
    across = positions(worked, scene, scene.width_px, axis=0)
    down = positions(worked, scene, scene.height_px, axis=1)
    mix = bilinear if smooth else nearest
    step = max(1, int(MOST_ROWS * scene.height_px / worked.height_px))

    def read(top: int, height_px: int) -> NDArray[np.generic]:
        parts = []
        for first in range(top, top + height_px, step):
            at = down[first : min(first + step, top + height_px)]
            low = max(0, int(at.min() - 0.5))
            high = min(worked.height_px, int(at.max() + 0.5) + 1)
            parts.append(mix(rows(low, high - low), at - low, across))
        return np.concatenate(parts)

    return read


def positions(worked: Grid, scene: Grid, count: int, *, axis: int) -> Places:
    """Where pixel centres of the scene lie on the working grid, in its pixels: 0.5 is the middle of
    its first. Axis 0 is that of columns.
    """
    a, b, c, d, e, f = worked.transform
    det = a * e - b * d
    shift = np.array([scene.transform[2] - c, scene.transform[5] - f])
    back = np.array([[e, -b], [-d, a]]) / det
    steps = np.array([[scene.transform[0], scene.transform[1]], scene.transform[3:5]])
    scale = (back @ steps)[axis, axis]
    return np.asarray((back @ shift)[axis] + scale * (np.arange(count) + 0.5))


def nearest(values: NDArray[np.generic], down: Places, across: Places) -> NDArray[np.generic]:
    """The pixel that each place lies in."""
    return values[inside(down, values.shape[0])][:, inside(across, values.shape[1])]


def bilinear(values: NDArray[np.generic], down: Places, across: Places) -> NDArray[np.generic]:
    """Each place's value between the four pixel centres around it."""
    rows, columns = down - 0.5, across - 0.5
    total = np.zeros((len(rows), len(columns)))
    weight = np.zeros_like(total)
    for row, row_share in neighbours(rows, values.shape[0]):
        for column, column_share in neighbours(columns, values.shape[1]):
            share = row_share[:, None] * column_share
            part = values[row][:, column]
            there = ~np.isnan(part)
            total += np.where(there, part, 0) * share
            weight += there * share
    hole = np.isnan(nearest(values, down, across))
    mixed = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    return np.where(hole, np.nan, mixed).astype(values.dtype)


def neighbours(at: Places, count: int) -> list[tuple[NDArray[np.intp], Places]]:
    """The centres before and behind each place, with their shares of it."""
    before = np.floor(at)
    share = at - before
    return [(inside(before, count), 1 - share), (inside(before + 1, count), share)]


def inside(at: Places, count: int) -> NDArray[np.intp]:
    """Indices, held within a row of so many."""
    return np.clip(np.floor(at), 0, count - 1).astype(np.intp)
