"""Tiles of a raster in the order in which they are read: each block once, neighbours together."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import ReadFailed
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.source import Source

Began = Callable[[tuple[Window, ...]], None]


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's pixels (bands, height, width) as stored, and which hold data (height, width).

    `error` says why there are none; `read_ms` is the tile's share of its read.
    """

    window: Window
    pixels: NDArray[Any] | None
    valid: NDArray[np.bool_] | None
    read_ms: float
    error: str | None = None


def group_reads(
    windows: Sequence[Window], bytes_per_px: int, largest_bytes: int
) -> list[tuple[Window, ...]]:
    """Tiles to read together, top to bottom: neighbours in one row, within `largest_bytes`.

    The first group is a single tile, so that the first result comes soon.
    """
    groups: list[tuple[Window, ...]] = []
    ordered = sorted(windows)
    for _, row in groupby(ordered, key=lambda tile: (tile.row_off_px, tile.height_px)):
        group: tuple[Window, ...] = ()
        for tile in row:
            whole = extent((*group, tile))
            too_large = whole.height_px * whole.width_px * bytes_per_px > largest_bytes
            if group and (too_large or not groups or tile.col_off_px != group[-1].col_end_px):
                groups.append(group)
                group = ()
            group = (*group, tile)
        groups.append(group)
    return groups


def extent(tiles: Sequence[Window]) -> Window:
    """The window of tiles that stand side by side in one row, ordered."""
    first, last = tiles[0], tiles[-1]
    width_px = last.col_end_px - first.col_off_px
    return Window(first.row_off_px, first.col_off_px, first.height_px, width_px)


def read_tiles(
    source: Source, windows: Sequence[Window], began: Began = lambda _: None
) -> Iterator[list[Tile]]:
    """Groups of tiles. `began` hears which are being read; () when none is."""
    for group in group_reads(windows, source.px_bytes, source.read_bytes):
        began(group)
        tiles = read_group(source, group)
        began(())
        yield tiles


def read_group(source: Source, group: tuple[Window, ...]) -> list[Tile]:
    """The group's tiles from one read; where it fails, tile by tile, so that only bad ones fail."""
    began = time.perf_counter()
    whole = extent(group)
    try:
        pixels, valid = source.read(whole)
    except ReadFailed as error:
        spent_ms = 1000 * (time.perf_counter() - began)
        if len(group) > 1:
            return [tile for one in group for tile in read_group(source, (one,))]
        return [Tile(group[0], None, None, spent_ms, error.message)]
    spent_ms = 1000 * (time.perf_counter() - began) / len(group)
    tiles = []
    for tile in group:
        columns = slice(tile.col_off_px - whole.col_off_px, tile.col_end_px - whole.col_off_px)
        tiles.append(Tile(tile, pixels[:, :, columns], valid[:, columns], spent_ms))
    return tiles
