"""The ground that tiles lie on, all of them together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.footprint import window_footprints


def ground_of(grid: Grid, windows: Sequence[Window]) -> shapely.MultiPolygon:
    """What these tiles of a grid cover, in lon/lat (EPSG:4326), split at 180 degrees.

    `windows` are row-major, at least one. Their corners are where those of the tiles are; between
    them an edge of many tiles is drawn with fewer points than theirs.
    """
    parts = np.array(window_footprints(grid, merged(windows)), dtype=object)
    return shapely.MultiPolygon(dateline.polygons_of(shapely.union_all(parts)))


def merged(windows: Sequence[Window]) -> list[Window]:
    """The same pixels in fewer windows: neighbours in a row become one, then equal rows do."""
    rows: list[Window] = []
    for window in windows:
        last = rows[-1] if rows else None
        if last is not None and is_beside(last, window):
            rows[-1] = replace(last, width_px=last.width_px + window.width_px)
        else:
            rows.append(window)
    blocks: dict[tuple[int, int], Window] = {}
    done: list[Window] = []
    for row in rows:
        columns = (row.col_off_px, row.width_px)
        above = blocks.get(columns)
        if above is not None and above.row_end_px == row.row_off_px:
            blocks[columns] = replace(above, height_px=above.height_px + row.height_px)
            continue
        if above is not None:
            done.append(above)
        blocks[columns] = row
    return [*done, *blocks.values()]


def is_beside(left: Window, right: Window) -> bool:
    """Whether a window goes on where another one of the same row ends."""
    same_row = (left.row_off_px, left.height_px) == (right.row_off_px, right.height_px)
    return same_row and left.col_end_px == right.col_off_px
