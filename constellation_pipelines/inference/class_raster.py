"""The classes of a scene's pixels as a COG, from the working raster."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import numpy as np

from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.work_raster import NOTHING, Layout, Product, WorkRaster

BLOCK_PX = 512


def write_cog(
    work: Path, grid: Grid, card: ModelCard, out_path: Path, tags: Mapping[str, str]
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
            write_plain(work, grid, card, plain, tags)
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
    work: Path, grid: Grid, card: ModelCard, path: Path, tags: Mapping[str, str]
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
        with WorkRaster(work, Layout(Product.CLASS, np.uint8), grid) as classes:
            for top in range(0, grid.height_px, BLOCK_PX):
                height_px = min(BLOCK_PX, grid.height_px - top)
                strip = classes.read(Window(top, 0, height_px, grid.width_px))
                place = RasterWindow(0, top, grid.width_px, height_px)
                raster.write(strip[:, :, 0], 1, window=place)


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
