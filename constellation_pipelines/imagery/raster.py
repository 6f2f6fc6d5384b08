"""The only door to GDAL for files from users: one of two drivers, no network, no side files."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.imagery.directories import is_cut_off

# The first bytes decide the driver, never the name: a .tif can hold VRT XML, and VRT opens URLs.
DRIVERS = {
    b"II*\x00": "GTiff",
    b"MM\x00*": "GTiff",
    b"II+\x00": "GTiff",  # BigTIFF
    b"MM\x00+": "GTiff",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JP2OpenJPEG",
}
MAGIC_BYTES = 12

GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no .ovr, .msk, .tfw, .aux.xml beside the file
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "none",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_HTTP_TIMEOUT": "1",
    "PROJ_NETWORK": "OFF",
}

# In threads of its own the driver of JPEG2000 reads what is cut off as zeros, and tells nobody.
DRIVER_OPTIONS = {"JP2OpenJPEG": {"GDAL_NUM_THREADS": "1"}}

MAX_SIDE_PX = 200_000
MAX_PIXELS = 20_000_000_000
MAX_BANDS = 1_000
MAX_BLOCK_BYTES = 256 * 2**20  # of one block in all bands: what a read has to hold
MAX_EXPANSION = 1_100  # DEFLATE reaches 1032; what expands more is empty or hostile
HARMLESS_BYTES = 64 * 2**20  # below this size expansion does not matter


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """A rasterio dataset of a GeoTIFF, BigTIFF or JPEG2000 file, for use inside the `with` only.

    `path` is one that `resolve_scene_path` returned. Only the header is read here. Raises
    SceneRefused for another format, an unreadable header, or one that claims absurd sizes.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    path = path.absolute()
    driver = _driver_of(path)
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**GDAL_OPTIONS, **DRIVER_OPTIONS.get(driver, {})))
        try:
            with warnings.catch_warnings():
                # Whoever needs a georeference says so himself, in words for users.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = stack.enter_context(rasterio.open(path, driver=driver))
            _check_limits(dataset, path)
        except (RasterioError, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise damaged(path) from error
        yield dataset


def damaged(path: Path) -> SceneRefused:
    """What is said of a file whose header is not whole."""
    return SceneRefused(
        f"{path.name} cannot be read: its header is damaged or cut off; copy it again"
    )


def _driver_of(path: Path) -> str:
    try:
        # Not blocking, so that a pipe put in the file's place cannot hold us up.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            magic = os.read(handle, MAGIC_BYTES)
            driver = next(
                (name for start, name in DRIVERS.items() if magic.startswith(start)), None
            )
            cut_off = driver == "GTiff" and is_cut_off(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise SceneRefused(f"{path.name} cannot be read: {error.strerror}") from error
    if cut_off:
        raise damaged(path)
    if driver is not None:
        return driver
    raise SceneRefused(f"{path.name} is neither a GeoTIFF nor a JPEG2000 (JP2) file")


def _check_limits(dataset: Any, path: Path) -> None:
    width, height, count = dataset.width, dataset.height, dataset.count
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise SceneRefused(
            f"{path.name} claims {width} x {height} px; the limits are {MAX_SIDE_PX} px a side "
            f"and {MAX_PIXELS // 10**9} billion px: cut it into scenes"
        )
    if not 1 <= count <= MAX_BANDS:
        raise SceneRefused(f"{path.name} has {count} bands; 1 to {MAX_BANDS} are taken")
    pixel_bytes = _pixel_bytes(dataset, path)
    block_height, block_width = dataset.block_shapes[0]
    if block_height * block_width * pixel_bytes > MAX_BLOCK_BYTES:
        raise SceneRefused(
            f"{path.name} is stored in blocks of {block_width} x {block_height} px, too large to "
            "read in parts: write it again as a tiled GeoTIFF (512 x 512 blocks)"
        )
    declared, stored = width * height * pixel_bytes, path.stat().st_size
    if declared > max(HARMLESS_BYTES, stored * MAX_EXPANSION):
        raise SceneRefused(
            f"{path.name} claims {declared // 2**20} MiB of pixels in {stored} bytes: "
            "it is empty or damaged"
        )
    # GDAL opens whatever this names, with any driver, as soon as someone asks for overviews.
    if dataset.tags(ns="OVERVIEWS"):
        raise SceneRefused(
            f"{path.name} refers to overviews in another file: write it again without"
        )


def _pixel_bytes(dataset: Any, path: Path) -> int:
    """Bytes of one pixel in all bands."""
    try:
        names = dataset.dtypes
        return sum(4 if name == "complex_int16" else np.dtype(name).itemsize for name in names)
    except (TypeError, KeyError) as error:
        raise SceneRefused(f"{path.name} has a pixel type that is not supported") from error
