"""The classes of a scene's pixels: a working file while it grows, then a COG.

The working file is one byte a pixel, row by row, holding class + 1, so that the holes of a sparse
file read as `nothing`. It survives a killed process, and a second attempt goes on with it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import EngineFailed, InvalidInput
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.chips import NOTHING

BLOCK_PX = 512


class WorkRaster:
    """The working file of one run, open for writing. A context."""

    def __init__(self, path: Path, grid: Grid) -> None:
        size_bytes = grid.width_px * grid.height_px
        self._width_px = grid.width_px
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._file).st_size not in (0, size_bytes):
            os.close(self._file)
            raise InvalidInput("the working raster belongs to a scene of another size")
        os.truncate(self._file, size_bytes)

    def __enter__(self) -> "WorkRaster":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, window: Window, classes: NDArray[np.uint8]) -> None:
        """Set a window's classes (height, width); 255 is nothing.

        Plain writes, not a memory map: on a full disk a map would kill the process, where a write
        fails with an error. Raises EngineFailed.
        """
        try:
            for row, line in enumerate(classes + np.uint8(1), window.row_off_px):
                os.pwrite(self._file, line.tobytes(), row * self._width_px + window.col_off_px)
        except OSError as error:
            raise EngineFailed(f"the class raster cannot be written: {error.strerror}") from error


def write_cog(
    work_path: Path, grid: Grid, card: ModelCard, out_path: Path, tags: Mapping[str, str]
) -> None:
    """Write the class raster as a valid COG: ZSTD, nearest overviews, nodata 255, colour table.

    Tags `model` and `classes` (JSON, name by value) are added to those given. The file appears
    under its name only once it is whole and on disk. Memory stays at a strip of 512 rows.
    """
    import rasterio
    from rasterio.shutil import copy

    out_path.parent.mkdir(parents=True, exist_ok=True)
    token = uuid4().hex
    plain = out_path.with_name(f".{token}.plain.tif")
    draft = out_path.with_name(f".{token}.cog.tif")
    try:
        with rasterio.Env(GDAL_CACHEMAX=64):
            write_plain(work_path, grid, card, plain, tags)
            copy(
                plain,
                draft,
                driver="COG",
                COMPRESS="ZSTD",
                BLOCKSIZE=str(BLOCK_PX),
                OVERVIEW_RESAMPLING="NEAREST",
                BIGTIFF="IF_SAFER",
            )
        commit(draft, out_path)
    finally:
        plain.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)


def write_plain(
    work_path: Path, grid: Grid, card: ModelCard, path: Path, tags: Mapping[str, str]
) -> None:
    """The same pixels as a plain tiled GeoTIFF; the COG driver copies from one."""
    import rasterio
    from rasterio.windows import Window as RasterWindow

    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.width_px,
        height=grid.height_px,
        count=1,
        dtype="uint8",
        crs=grid.crs,
        transform=rasterio.Affine(*grid.transform),
        nodata=NOTHING,
        tiled=True,
        blockxsize=BLOCK_PX,
        blockysize=BLOCK_PX,
        compress="LZW",
        BIGTIFF="IF_SAFER",
    ) as raster:
        raster.write_colormap(1, colour_table(card))
        raster.set_band_description(1, "class")
        names = {str(found.value): found.name for found in card.classes}
        raster.update_tags(**{**tags, "model": card.reference, "classes": json.dumps(names)})
        shape = (grid.height_px, grid.width_px)
        pixels = np.memmap(work_path, np.uint8, "r", shape=shape)
        for top in range(0, grid.height_px, BLOCK_PX):
            strip = pixels[top : top + BLOCK_PX] - np.uint8(1)  # 0, a hole, becomes 255
            place = RasterWindow(0, top, grid.width_px, strip.shape[0])
            raster.write(strip, 1, window=place)


def colour_table(card: ModelCard) -> dict[int, tuple[int, int, int, int]]:
    """Red, green, blue, alpha by class value."""
    table = {
        found.value: (*bytes.fromhex(found.color.removeprefix("#")), 255) for found in card.classes
    }
    return {**table, NOTHING: (0, 0, 0, 0)}


def commit(draft: Path, path: Path) -> None:
    """Give a finished file its name, in a way that a power cut cannot tear."""
    flush(draft)
    os.replace(draft, path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
