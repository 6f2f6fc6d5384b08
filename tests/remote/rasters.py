"""Rasters of random pixels in the layouts that are found in the wild."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.imagery.rasters import NORTH_UP

LAYOUTS: dict[str, dict[str, Any]] = {
    "tiled": {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"},
    "striped": {"blockysize": 16, "compress": "lzw"},
    "one strip": {"blockysize": 512},
    "uncompressed": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "planes": {"tiled": True, "blockxsize": 128, "blockysize": 128, "interleave": "band"},
    "big": {"tiled": True, "blockxsize": 128, "blockysize": 128, "bigtiff": "yes"},
    "big striped": {"blockysize": 7, "bigtiff": "yes"},
    "big endian": {"tiled": True, "blockxsize": 64, "blockysize": 64, "endianness": "big"},
    "big big endian": {"blockysize": 9, "endianness": "big", "bigtiff": "yes"},
    "one block": {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "compress": "zstd"},
    "jpeg": {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "jpeg"},
}


def write(path: Path, layout: str, *, side_px: int = 600, mask: bool = False, **more: Any) -> Path:
    """A GeoTIFF of three random bands, with a mask of its own if asked for."""
    import rasterio
    from affine import Affine

    random = np.random.default_rng(7)
    pixels = random.integers(1, 255, (3, side_px, side_px - 50), np.uint8)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=side_px - 50,
            height=side_px,
            count=3,
            dtype="uint8",
            crs="EPSG:32633",
            transform=Affine(*NORTH_UP),
            **{**LAYOUTS[layout], **more},
        ) as raster,
    ):
        raster.write(pixels)
        if mask:
            raster.write_mask(random.integers(0, 2, pixels.shape[1:], np.uint8) * 255)
    return path


def write_cog(path: Path, *, mask: bool = False, side_px: int = 600, block_px: int = 128) -> Path:
    """The same as a Cloud Optimised GeoTIFF with overviews."""
    import rasterio
    from rasterio.shutil import copy

    plain = write(path.with_name(f"plain-{path.name}"), "tiled", side_px=side_px, mask=mask)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        copy(plain, path, driver="COG", BLOCKSIZE=str(block_px), COMPRESS="DEFLATE")
    return path
