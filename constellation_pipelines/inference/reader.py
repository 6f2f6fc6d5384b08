"""Reads tiles of a raster: each block once, in a thread of its own, ahead of the network."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import ConstellationError, ReadFailed
from constellation_pipelines.domain.window import Window
from constellation_pipelines.imagery.raster import open_raster

LARGEST_READ_BYTES = 16_000_000
READS_AHEAD = 2
BLOCK_CACHE_MB = 64
UNREADABLE = "the pixels of this tile cannot be read: a block of the file is damaged or missing"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """What to read: `bands` are band numbers of the raster, from 1, in the order wanted.

    `shape_px`, height and width, is what the raster had when it was registered.
    """

    path: Path
    shape_px: tuple[int, int]
    bands: tuple[int, ...]
    nodata: float | None
    windows: tuple[Window, ...]


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


def group_reads(windows: Sequence[Window], bytes_per_px: int) -> list[tuple[Window, ...]]:
    """Tiles to read together, top to bottom: neighbours in one row, within LARGEST_READ_BYTES.

    The first group is a single tile, so that the first result comes soon.
    """
    groups: list[tuple[Window, ...]] = []
    ordered = sorted(windows)
    for _, row in groupby(ordered, key=lambda tile: (tile.row_off_px, tile.height_px)):
        group: tuple[Window, ...] = ()
        for tile in row:
            whole = extent((*group, tile))
            too_large = whole.height_px * whole.width_px * bytes_per_px > LARGEST_READ_BYTES
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


class Reader:
    """Yields groups of tiles in reading order. Use as a context; leaving it stops the thread.

    Memory stays below READS_AHEAD + 2 reads, whatever the raster's size.
    """

    def __init__(
        self, order: ReadOrder, began: Callable[[tuple[Window, ...]], None] = lambda _: None
    ) -> None:
        """`began` hears, in the reader's thread, which tiles are being read; () when none is."""
        self._order = order
        self._began = began
        self._ready: queue.Queue[list[Tile] | Exception | None] = queue.Queue(READS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[list[Tile]]:
        """Groups until all tiles are read. Raises what opening the raster raised."""
        while (item := self._ready.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def _run(self) -> None:
        try:
            self._read_all()
            self._put(None)
        except ConstellationError as error:
            self._put(error)
        except Exception:
            log.exception("reader failed")
            self._put(ReadFailed("the scene's raster cannot be read"))

    def _read_all(self) -> None:
        import rasterio

        order = self._order
        with rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE_MB), open_raster(order.path) as raster:
            check_unchanged(raster, order)
            item_bytes = np.dtype(raster.dtypes[order.bands[0] - 1]).itemsize
            for group in group_reads(order.windows, item_bytes * len(order.bands)):
                if self._stopped.is_set():
                    return
                self._began(group)
                tiles = read_group(raster, order, group)
                self._began(())
                self._put(tiles)

    def _put(self, item: list[Tile] | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue


def check_unchanged(raster: Any, order: ReadOrder) -> None:
    """Raise ReadFailed for a raster that cannot be the one that was registered."""
    if raster.shape != order.shape_px or max(order.bands) > raster.count:
        raise ReadFailed("the scene's file has changed since it was registered; register it again")


def read_group(raster: Any, order: ReadOrder, group: tuple[Window, ...]) -> list[Tile]:
    """The group's tiles from one read; where it fails, tile by tile, so that only bad ones fail."""
    began = time.perf_counter()
    whole = extent(group)
    try:
        pixels, valid = read_window(raster, order, whole)
    except ReadFailed as error:
        spent_ms = 1000 * (time.perf_counter() - began)
        if len(group) > 1:
            return [tile for one in group for tile in read_group(raster, order, (one,))]
        return [Tile(group[0], None, None, spent_ms, error.message)]
    spent_ms = 1000 * (time.perf_counter() - began) / len(group)
    tiles = []
    for tile in group:
        columns = slice(tile.col_off_px - whole.col_off_px, tile.col_end_px - whole.col_off_px)
        tiles.append(Tile(tile, pixels[:, :, columns], valid[:, columns], spent_ms))
    return tiles


def read_window(
    raster: Any, order: ReadOrder, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels (bands, height, width) and validity (height, width). Raises ReadFailed."""
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as RasterWindow

    place = RasterWindow(window.col_off_px, window.row_off_px, window.width_px, window.height_px)
    try:
        pixels = raster.read(list(order.bands), window=place)
        mask = raster.read_masks(order.bands[0], window=place) if has_own_mask(raster) else None
    except (RasterioError, ValueError) as error:
        raise ReadFailed(UNREADABLE) from error
    return pixels, validity(pixels, order.nodata, mask)


def has_own_mask(raster: Any) -> bool:
    """True where the file has a mask or alpha band, beside or instead of a nodata value."""
    from rasterio.enums import MaskFlags

    own = (MaskFlags.per_dataset, MaskFlags.alpha)
    return any(flag in own for flags in raster.mask_flag_enums for flag in flags)


def validity(
    pixels: NDArray[Any], nodata: float | None, mask: NDArray[np.uint8] | None
) -> NDArray[np.bool_]:
    """Pixels that hold data.

    Not those whose bands are all nodata (one dark band may well have that value), nor those with a
    NaN or infinite value in any band, nor those the file's own mask leaves out.
    """
    valid = np.ones(pixels.shape[1:], np.bool_) if mask is None else mask > 0
    if np.issubdtype(pixels.dtype, np.floating):
        valid &= np.isfinite(pixels).all(0)
    if nodata is not None and math.isfinite(nodata):
        valid &= (pixels != nodata).any(0)
    return valid
