"""Cloud-optimised GeoTIFFs of one band, written from strips of rows.

GDAL's own driver builds overviews and blocks in passes over files of their own; here each strip is
compressed and halved as it comes, and the file is put together at the end. Which tags say what the
pixels are and where they lie is GDAL's to know: they are taken from a small file that it wrote.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.inference import tiff

BLOCK_PX = 512
OTHER_BLOCK_PX = 384  # 512 halved never comes by it
ZSTD_LEVEL = 1  # 3 takes 1.4 to 2.4 times as long for files that are as large or a tenth smaller

Rows = Callable[[int, int], NDArray[Any]]  # (top, height): these rows, all columns


@dataclass(frozen=True, slots=True)
class Sheet:
    """A raster of one band: where its pixels lie, what their numbers mean.

    `colours` are red, green, blue, alpha by value, of whole numbers only.
    """

    grid: Grid
    dtype: type[np.generic]
    nodata: float
    band: str
    tags: Mapping[str, str]
    colours: Mapping[int, tuple[int, int, int, int]] | None = None
    unit: str | None = None

    @property
    def floating(self) -> bool:
        """Whether its numbers are floating point."""
        return issubclass(self.dtype, np.floating)

    @property
    def block_px(self) -> int:
        """Side of its blocks; never its width or an overview's, for readers take such an image to
        be in strips.
        """
        is_a_width = any(width_px == BLOCK_PX for _, width_px in self.sizes_px)
        return OTHER_BLOCK_PX if is_a_width else BLOCK_PX

    @property
    def sizes_px(self) -> list[tuple[int, int]]:
        """Height and width of the full resolution and its overviews, each half the one before."""
        sizes_px = [(self.grid.height_px, self.grid.width_px)]
        while max(sizes_px[-1]) > BLOCK_PX:
            height_px, width_px = sizes_px[-1]
            sizes_px.append((-(-height_px // 2), -(-width_px // 2)))
        return sizes_px


def write_cog(sheet: Sheet, rows: Rows, path: Path) -> None:
    """Write a valid COG: ZSTD, blocks of 512, overviews where it is larger.

    Overviews take every second pixel, of floating point numbers the mean of four. The file appears
    under its name only once it is whole and on disk. Memory stays at some strips of 512 rows. Rows
    are asked for from top to bottom, once each. Raises OSError where the disk does not take them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid4().hex}.cog.tif")
    try:
        with ExitStack() as stack:
            largest = levels(sheet, draft, stack)
            for top in range(0, sheet.grid.height_px, sheet.block_px):
                largest.add(rows(top, min(sheet.block_px, sheet.grid.height_px - top)))
            images = list(largest.all())
            with draft.open("wb") as out:
                out.write(tiff.head(template(sheet), [level.image() for level in images]))
                for level in reversed(images):
                    level.blocks.seek(0)
                    shutil.copyfileobj(level.blocks, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
        os.replace(draft, path)
        flush_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


class Level:
    """One resolution: takes rows, keeps compressed blocks, hands half of the rows on."""

    def __init__(
        self, sheet: Sheet, size_px: tuple[int, int], blocks: IO[bytes], smaller: "Level | None"
    ) -> None:
        self._sheet = sheet
        self._block_px = sheet.block_px
        self._height_px, self._width_px = size_px
        self._smaller = smaller
        self._waiting: list[NDArray[Any]] = []
        self._rows_left = self._height_px
        self._compress = compressor(floating=sheet.floating)
        self._sizes: list[int] = []
        self.blocks = blocks

    def add(self, rows: NDArray[Any]) -> None:
        """The next rows, of one strip or of half a one."""
        self._waiting.append(rows)
        self._rows_left -= len(rows)
        held = sum(map(len, self._waiting))
        if held == self._block_px or (held and self._rows_left == 0):
            strip = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
            self._waiting = []
            half = self._write(strip)
            if self._smaller is not None:
                self._smaller.add(half)

    def _write(self, strip: NDArray[Any]) -> NDArray[Any]:
        """Keep the blocks of a strip; return half of it."""
        side, halves = self._block_px, []
        for left in range(0, self._width_px, side):
            part = strip[:, left : left + side]
            halves.append(halved(part, floating=self._sheet.floating))
            if part.shape != (side, side):
                edge = ((0, side - part.shape[0]), (0, side - part.shape[1]))
                part = np.pad(part, edge, constant_values=self._sheet.nodata)
            block = self._compress(np.ascontiguousarray(part))
            self.blocks.write(tiff.framed(block))
            self._sizes.append(len(block))
        return np.concatenate(halves, axis=1)

    def image(self) -> tiff.Image:
        """Its size and blocks, once all rows are there."""
        return tiff.Image(self._width_px, self._height_px, self._sizes)

    def all(self) -> "Iterator[Level]":
        """This level and all smaller ones."""
        yield self
        if self._smaller is not None:
            yield from self._smaller.all()


def levels(sheet: Sheet, draft: Path, stack: ExitStack) -> Level:
    """The full resolution with its overviews; their blocks lie in files beside the draft."""
    level: Level | None = None
    for number, size_px in reversed(list(enumerate(sheet.sizes_px))):
        blocks = stack.enter_context(passing_file(draft.with_suffix(f".{number}")))
        level = Level(sheet, size_px, blocks, level)
    assert level is not None
    return level


@contextmanager
def passing_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that is gone afterwards."""
    try:
        with path.open("w+b") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def compressor(*, floating: bool) -> Callable[[NDArray[Any]], bytes]:
    """Makes the bytes of a block."""
    import pyarrow

    codec = pyarrow.Codec("zstd", ZSTD_LEVEL)

    def compress(block: NDArray[Any]) -> bytes:
        return bytes(codec.compress(predicted(block) if floating else block, asbytes=True))

    return compress


def predicted(block: NDArray[np.float32]) -> NDArray[np.uint8]:
    """TIFF's predictor 3: a row's bytes, the most significant first, each less the one before."""
    rows, columns = block.shape
    significant = block.astype(">f4").view(np.uint8).reshape(rows, columns, 4)
    planes = np.ascontiguousarray(significant.transpose(0, 2, 1)).reshape(rows, 4 * columns)
    planes[:, 1:] -= planes[:, :-1].copy()
    return planes


def halved(rows: NDArray[Any], *, floating: bool) -> NDArray[Any]:
    """Half the resolution, rounded up: every second pixel, or the mean of four without NaN."""
    if not floating:
        return rows[::2, ::2]
    even = np.pad(rows, [(0, side % 2) for side in rows.shape], constant_values=np.nan)
    total, count = np.zeros((2, len(even) // 2, even.shape[1] // 2), rows.dtype)
    for part in (even[y::2, x::2] for y in (0, 1) for x in (0, 1)):
        there = ~np.isnan(part)
        np.add(total, part, out=total, where=there)
        count += there
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return np.asarray(mean, rows.dtype)


def template(sheet: Sheet) -> dict[int, tiff.Tag]:
    """The tags of a file of one block that GDAL writes for such pixels."""
    import rasterio
    from rasterio.io import MemoryFile

    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": sheet.block_px,
        "height": sheet.block_px,
        "count": 1,
        "dtype": np.dtype(sheet.dtype).name,
        "crs": sheet.grid.crs,
        "transform": rasterio.Affine(*sheet.grid.transform),
        "nodata": sheet.nodata,
        "tiled": True,
        "blockxsize": sheet.block_px,
        "blockysize": sheet.block_px,
        "compress": "ZSTD",
        "predictor": 3 if sheet.floating else 1,
        "BIGTIFF": "NO",
        "ENDIANNESS": "LITTLE",
        "SPARSE_OK": True,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as raster:
            if sheet.colours is not None:
                raster.write_colormap(1, dict(sheet.colours))
            raster.set_band_description(1, sheet.band)
            if sheet.unit is not None:
                raster.set_band_unit(1, sheet.unit)
            raster.update_tags(**sheet.tags)
        return tiff.tags_of(bytes(memory.read()))


def flush_folder(path: Path) -> None:
    """Wait until a folder's list of names is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
