"""The benchmark's scenes: made once, kept in a cache folder, the same on every machine.

`synthetic` is smooth land with noise, seeded; it compresses about as little as real data does.
`real` is a small real scene repeated until it has a useful size; the seams are mirrored, so that
neighbouring copies agree.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CACHE_VARIABLE = "ENGINE_BENCH_CACHE"
DEFAULT_CACHE = Path("/var/tmp/constellation-bench")
BANDS = ("red", "green", "blue", "nir")
FULL_PX = 10_980  # a Sentinel-2 tile at 10 m
COG = {
    "driver": "COG",
    "COMPRESS": "DEFLATE",
    "PREDICTOR": "YES",
    "BLOCKSIZE": "512",
    "BIGTIFF": "YES",
    "OVERVIEWS": "NONE",
    "NUM_THREADS": "ALL_CPUS",
}
ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class BenchScene:
    """A four-band uint16 or uint8 COG, and what to say of it."""

    name: str
    path: Path
    remark: str


def cache_folder() -> Path:
    """Where scenes are kept from one run to the next."""
    folder = Path(os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def synthetic(size_px: int) -> BenchScene:
    """A square 4-band uint16 COG: DEFLATE, predictor 2, 512-pixel blocks, 10 m."""
    path = cache_folder() / f"synthetic-{size_px}.tif"
    if not path.exists():
        write(path, land(size_px), size_px, size_px, "uint16", "EPSG:32633", None)
    return BenchScene(f"synthetic {size_px}", path, f"generated, {size_px} px square, uint16")


def real(source: Path, size_px: int) -> BenchScene:
    """`source`'s first four bands, mirrored and repeated to `size_px` square; its own CRS."""
    import rasterio

    path = cache_folder() / f"real-{source.stem}-{size_px}-4-bands.tif"
    if not path.exists():
        with rasterio.open(source) as scene:
            pixels = scene.read((1, 2, 3, 4))
            dtype, crs, transform = scene.dtypes[0], scene.crs, scene.transform
        write(path, repeated(pixels, size_px), size_px, size_px, dtype, crs, transform)
    remark = f"{source.name}, mirrored and repeated to {size_px} px square"
    return BenchScene(f"real {size_px}", path, remark)


def repeated(pixels: NDArray[Any], size_px: int) -> Iterator[NDArray[Any]]:
    """Strips (bands, rows, size_px) of an image that is mirrored and repeated without end."""
    _, height, width = pixels.shape
    columns = mirrored(np.arange(size_px), width)
    for top in range(0, size_px, ROWS_AT_ONCE):
        rows = mirrored(np.arange(top, min(top + ROWS_AT_ONCE, size_px)), height)
        yield pixels[:, rows][:, :, columns]


def mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """0 1 2 2 1 0 0 1 ...: places on a line that is folded every `length`."""
    around = places % (2 * length)
    return np.where(around < length, around, 2 * length - 1 - around)


def land(size_px: int) -> Iterator[NDArray[np.uint16]]:
    """Strips of hills and fields of several sizes, with sensor noise; seeded."""
    random = np.random.default_rng(0)
    grids = [
        (amplitude, random.standard_normal((cells + 1, cells + 1)).astype(np.float32))
        for cells, amplitude in ((24, 500), (96, 250), (384, 150), (1536, 100), (5490, 60))
    ]
    for top in range(0, size_px, ROWS_AT_ONCE):
        rows = np.arange(top, min(top + ROWS_AT_ONCE, size_px), dtype=np.float32)
        base = np.zeros((len(rows), size_px), np.float32)
        for amplitude, grid in grids:
            base += amplitude * enlarged(grid, rows, size_px)
        bands = []
        for band in range(len(BANDS)):
            noise = random.standard_normal(base.shape, dtype=np.float32) * 18
            values = base * (0.8 + 0.1 * band) + 1500 + 300 * band + noise
            bands.append(np.clip(values, 1, 10_000).astype(np.uint16))
        yield np.stack(bands)


def enlarged(
    grid: NDArray[np.float32], rows: NDArray[np.float32], size_px: int
) -> NDArray[np.float32]:
    """Rows of a coarse grid drawn out to FULL_PX, cut at size_px, linear in both directions."""
    scale = (len(grid) - 1) / FULL_PX
    y, x = rows * scale, np.arange(size_px, dtype=np.float32) * scale
    top, left = y.astype(np.int64), x.astype(np.int64)
    down, right = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)
    lines: NDArray[np.float32] = grid[top] * (1 - down) + grid[top + 1] * down
    result: NDArray[np.float32] = lines[:, left] * (1 - right) + lines[:, left + 1] * right
    return result


def write(
    path: Path,
    strips: Iterator[NDArray[Any]],
    height_px: int,
    width_px: int,
    dtype: str,
    crs: Any,
    transform: Any,
) -> None:
    """Strips of 512 rows as a COG; it gets its name once it is whole."""
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import Affine

    raw = path.with_suffix(f".{os.getpid()}.raw.tif")
    draft = path.with_suffix(f".{os.getpid()}.draft.tif")
    print(f"making {path.name}", flush=True)
    try:
        with rasterio.open(
            raw,
            "w",
            driver="GTiff",
            width=width_px,
            height=height_px,
            count=len(BANDS),
            dtype=dtype,
            crs=crs,
            transform=transform or Affine(10, 0, 300_000, 0, -10, 5_000_040),
            interleave="pixel",
            photometric="MINISBLACK",  # else the last of four bands of 8 bits is alpha
            alpha="NO",
            tiled=True,
            blockxsize=512,
            blockysize=512,
            BIGTIFF="YES",
        ) as out:
            for number, strip in enumerate(strips):
                top = number * ROWS_AT_ONCE
                place = rasterio.windows.Window(0, top, width_px, strip.shape[1])
                out.write(strip, window=place)
        with rasterio.open(raw, "r+") as out:
            out.descriptions = BANDS
        copy(raw, draft, **COG)
        os.replace(draft, path)
    finally:
        raw.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)
