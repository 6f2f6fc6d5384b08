"""A scene's raster on the grid of an order: pixels of a window, which of them hold data, clouds."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import ReadFailed
from constellation_pipelines.domain.quality import QualityMask
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.imagery.block_cache import block_cache, needed_bytes
from constellation_pipelines.imagery.clouds import cloud_fraction
from constellation_pipelines.imagery.nodata import is_no_measurement
from constellation_pipelines.imagery.raster import open_raster
from constellation_pipelines.imagery.resampled import open_on_grid

LARGEST_READ_BYTES = 8_000_000
SMALL_READ_BYTES = 1_000_000  # stays in a core's own cache: where more gives nothing, it costs
SAME_PLACE_PX = 0.5  # two grids of one extent have their corners as near as this
UNREADABLE = "the pixels of this tile cannot be read: a block of the file is damaged or missing"
MASK_UNREADABLE = "the quality mask of this tile cannot be read: a block of it is damaged"


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """What to read: `bands` are band numbers of the raster, from 1, in the order wanted.

    `grid` is the raster's own as it was registered, or another one of the same extent, to which it
    is resampled.
    """

    path: Path
    grid: Grid
    bands: tuple[int, ...]
    nodata: float | None
    windows: tuple[Window, ...]
    quality: QualityMask | None = None


class Source:
    """An opened raster, and its quality mask where it has one.

    `px_bytes` is what a pixel takes in memory, `read_bytes` how much to read at once.
    """

    def __init__(
        self, raster: Any, order: ReadOrder, mask: Any, mask_room: ExitStack, *, whole_blocks: bool
    ) -> None:
        """`mask_room` holds what the mask needs of GDAL's cache: clouds are asked for before pixels
        are, so it goes with the first read. `whole_blocks`: no block is shared by two of the
        order's windows.
        """
        self._mask_room = mask_room
        self._raster = raster
        self._order = order
        self._mask = mask
        self._alpha = alpha_band(raster, order.bands[0])
        self._own_mask = self._alpha is None and has_own_mask(raster)
        kinds = [np.dtype(raster.dtypes[band - 1]) for band in order.bands]
        self.px_bytes = len(kinds) * max(kind.itemsize for kind in kinds)
        self.dtype = np.result_type(*kinds)
        self.read_bytes = SMALL_READ_BYTES if whole_blocks else LARGEST_READ_BYTES

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pixels (bands, height, width) and validity (height, width). Raises ReadFailed."""
        from rasterio.errors import RasterioError

        order, place = self._order, place_of(window)
        self._mask_room.close()
        # Alpha with the others: by itself, or as a mask, it has GDAL decode every block again.
        bands = [*order.bands, self._alpha] if self._alpha else list(order.bands)
        try:
            pixels = self._raster.read(bands, window=place)
            mask = self._raster.read_masks(order.bands[0], window=place) if self._own_mask else None
        except (RasterioError, ValueError) as error:
            raise ReadFailed(UNREADABLE) from error
        if self._alpha:
            pixels, mask = pixels[:-1], pixels[-1]
        return pixels, validity(pixels, order.nodata, mask)

    def cloud_fraction(self, window: Window) -> float | None:
        """The clouded share of a window's observed ground; None without a mask.

        Raises ReadFailed. Pixels of the mask that a window touches count whole.
        """
        from rasterio.errors import RasterioError

        if self._mask is None or self._order.quality is None:
            return None
        down = self._mask.height / self._order.grid.height_px
        across = self._mask.width / self._order.grid.width_px
        top, left = int(window.row_off_px * down), int(window.col_off_px * across)
        bottom = min(max(math.ceil(window.row_end_px * down), top + 1), self._mask.height)
        right = min(max(math.ceil(window.col_end_px * across), left + 1), self._mask.width)
        place = place_of(Window(top, left, bottom - top, right - left))
        try:
            values = self._mask.read(self._order.quality.index, window=place)
        except (RasterioError, ValueError) as error:
            raise ReadFailed(MASK_UNREADABLE) from error
        return cloud_fraction(self._order.quality.kind, values)


@contextmanager
def open_source(order: ReadOrder) -> Iterator[Source]:
    """The raster of an order, on the order's grid, for use inside the `with` and its thread only.

    Raises ReadFailed for one that cannot be what was registered, and what opening it raises.
    """
    with ExitStack() as stack:
        raster = stack.enter_context(open_raster(order.path))
        check_unchanged(raster, order)
        mask = None
        if order.quality is not None:
            mask = stack.enter_context(open_raster(Path(order.quality.uri)))
            if order.quality.index > mask.count:
                raise ReadFailed("the scene's quality mask has changed; register the scene again")
        mask_room = stack.enter_context(ExitStack())
        if mask is not None:
            needed = needed_bytes(mask, order.grid, order.windows)
            mask_room.enter_context(block_cache(needed))
        needed = needed_bytes(raster, order.grid, order.windows)
        stack.enter_context(block_cache(needed))
        if raster.shape != (order.grid.height_px, order.grid.width_px):
            raster = stack.enter_context(open_on_grid(raster, order.grid, kernel(raster, order)))
        yield Source(raster, order, mask, mask_room, whole_blocks=needed == 0)


def kernel(raster: Any, order: ReadOrder) -> Any:
    """How pixels are mixed: the mean of smaller ones, between larger ones a plane."""
    from rasterio.enums import Resampling

    larger = raster.width > order.grid.width_px
    return Resampling.average if larger else Resampling.bilinear


def check_unchanged(raster: Any, order: ReadOrder) -> None:
    """Raise ReadFailed for a raster that cannot be the one that was registered."""
    grid = order.grid
    same = raster.shape == (grid.height_px, grid.width_px) or covers(raster, grid)
    if not same or max(order.bands) > raster.count:
        raise ReadFailed("the scene's file has changed since it was registered; register it again")


def covers(raster: Any, grid: Grid) -> bool:
    """Whether a raster and a grid of its CRS have the same corners, to half a pixel of the raster's
    own size.
    """
    to_px = ~raster.transform
    a, b, c, d, e, f = grid.transform
    for row, col in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x_px, y_px = col * grid.width_px, row * grid.height_px
        found = to_px @ (a * x_px + b * y_px + c, d * x_px + e * y_px + f)
        expected = (col * raster.width, row * raster.height)
        if any(abs(f - e) > SAME_PLACE_PX for f, e in zip(found, expected, strict=True)):
            return False
    return True


def place_of(window: Window) -> Any:
    """A window as rasterio has it."""
    from rasterio.windows import Window as RasterWindow

    return RasterWindow(window.col_off_px, window.row_off_px, window.width_px, window.height_px)


def has_own_mask(raster: Any) -> bool:
    """True where the file has a mask or alpha band, beside or instead of a nodata value."""
    from rasterio.enums import MaskFlags

    own = (MaskFlags.per_dataset, MaskFlags.alpha)
    return any(flag in own for flags in raster.mask_flag_enums for flag in flags)


def alpha_band(raster: Any, band: int) -> int | None:
    """The number of the band that is a band's mask, from 1; None where that is another thing."""
    from rasterio.enums import ColorInterp, MaskFlags

    if MaskFlags.alpha not in raster.mask_flag_enums[band - 1] or len(set(raster.dtypes)) > 1:
        return None
    try:
        return int(raster.colorinterp.index(ColorInterp.alpha)) + 1
    except ValueError:  # not there, or an interpretation newer than the library
        return None


def validity(
    pixels: NDArray[Any], nodata: float | None, mask: NDArray[Any] | None
) -> NDArray[np.bool_]:
    """Pixels that hold data.

    Not those whose bands are all nodata (one dark band may well have that value), nor those of
    which one band is where that value is no measurement, nor those with a NaN or infinite value in
    any band, nor those the file's own mask leaves out.
    """
    parts = [] if mask is None else [mask > 0]
    if np.issubdtype(pixels.dtype, np.floating):
        parts += [np.isfinite(band) for band in pixels]
    if is_no_measurement(nodata):
        parts += [band != nodata for band in pixels]
    elif nodata is not None and math.isfinite(nodata):
        parts.append(holds_other_than(pixels, nodata))
    if not parts:
        return all_true(pixels.shape[1:])
    valid, *others = parts
    for part in others:
        valid &= part
    return valid


@lru_cache(maxsize=8)
def all_true(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Nothing but True, one for all who want it; not to be written to."""
    found = np.ones(shape, np.bool_)
    found.setflags(write=False)
    return found


def holds_other_than(pixels: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """Pixels with at least one band that is not `nodata`; band by band, to touch memory once."""
    found = np.asarray(pixels[0] != nodata)
    for band in pixels[1:]:
        if found.all():
            break
        found |= band != nodata
    return found
