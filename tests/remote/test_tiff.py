"""Our reading of a TIFF's directories agrees with GDAL's, and survives what GDAL never sees."""

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.remote.errors import RemoteRefused
from constellation_pipelines.remote.tiff import Layout, blocks_of, read_layout
from tests.remote.rasters import LAYOUTS, write, write_cog


def layout_of(data: bytes) -> Layout:
    return read_layout(lambda offset, length: data[offset : offset + length], len(data))


def tables_of(path: Path) -> tuple[list[int], list[int]]:
    """Offsets and sizes of the first band's blocks as GDAL has them, row-major."""
    offsets: list[int] = []
    counts: list[int] = []
    with rasterio.open(path) as raster:
        height, width = raster.block_shapes[0]
        for row in range(-(-raster.height // height)):
            for column in range(-(-raster.width // width)):
                name = f"{column}_{row}"
                for found, item in ((offsets, "BLOCK_OFFSET"), (counts, "BLOCK_SIZE")):
                    value = raster.get_tag_item(f"{item}_{name}", "TIFF", bidx=1)
                    found.append(int(value or 0))
    return offsets, counts


@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_lie_where_gdal_says(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.tif", name)
    (main,) = layout_of(path.read_bytes()).directories
    offsets, counts = tables_of(path)
    band = main.across * main.down
    assert main.offsets[:band].tolist() == offsets
    assert main.counts[:band].tolist() == counts
    assert len(main.offsets) == band * main.planes
    with rasterio.open(path) as raster:
        assert (main.height_px, main.width_px) == raster.shape
        assert (main.block_height_px, main.block_width_px) == raster.block_shapes[0]


def test_of_a_cog_the_image_and_its_mask_are_kept_and_no_overview(tmp_path: Path) -> None:
    data = write_cog(tmp_path / "a.tif", mask=True).read_bytes()
    layout = layout_of(data)
    assert [(one.height_px, one.width_px) for one in layout.directories] == [(600, 550)] * 2


def test_the_chain_of_what_is_kept_leads_to_no_other_directory(tmp_path: Path) -> None:
    data = bytearray(write_cog(tmp_path / "a.tif", mask=True).read_bytes())
    for piece in layout_of(bytes(data)).pieces:
        data[piece.offset : piece.offset + len(piece.data)] = piece.data
    (tmp_path / "b.tif").write_bytes(data)
    with rasterio.open(tmp_path / "b.tif") as raster, rasterio.open(tmp_path / "a.tif") as before:
        assert raster.overviews(1) == []
        assert before.overviews(1) != []
        assert (raster.read() == before.read()).all()
        assert (raster.read_masks() == before.read_masks()).all()


def test_directories_at_the_end_of_the_file(tmp_path: Path, sample_data: Path) -> None:
    path = sample_data / "scenes" / "l7_rgb_byte_bahamas_32618.tif"
    data = path.read_bytes()
    read: list[tuple[int, int]] = []

    def reading(offset: int, length: int) -> bytes:
        read.append((offset, length))
        return data[offset : offset + length]

    read_layout(reading, len(data))
    assert sum(length for _, length in read) < len(data) / 10


def test_the_digest_changes_with_any_byte_of_the_header_and_not_with_pixels(
    tmp_path: Path,
) -> None:
    data = bytearray(write(tmp_path / "a.tif", "uncompressed").read_bytes())
    layout = layout_of(bytes(data))
    data[int(layout.directories[0].offsets[3]) + 5] ^= 1
    assert layout_of(bytes(data)).digest == layout.digest
    transform = next(piece for piece in layout.pieces if len(piece.data) == 48)  # tie point
    data[transform.offset + 30] ^= 1
    assert layout_of(bytes(data)).digest != layout.digest


def test_pixels_to_blocks(tmp_path: Path) -> None:
    data = write(tmp_path / "a.tif", "planes").read_bytes()
    (main,) = layout_of(data).directories
    assert (main.across, main.down, main.planes) == (5, 5, 3)
    assert blocks_of(main, slice(0, 1), slice(0, 1)).tolist() == [0, 25, 50]
    assert blocks_of(main, slice(127, 129), slice(128, 256)).tolist() == [1, 6, 26, 31, 51, 56]
    assert len(blocks_of(main, slice(0, 10_000), slice(-5, 10_000))) == 75
    assert len(blocks_of(main, slice(600, 700), slice(0, 10))) == 3  # the last row has 88 px


def classic(
    *entries: tuple[int, int, int, int], next_at: int = 0, count: int | None = None
) -> bytes:
    """A classic TIFF of one directory: tag, type, count, value."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    size = len(entries) if count is None else count
    return struct.pack("<2sHIH", b"II", 42, 8, size) + body + struct.pack("<I", next_at) + bytes(64)


GOOD = [(256, 3, 1, 4), (257, 3, 1, 4), (278, 3, 1, 4), (273, 4, 1, 8), (279, 4, 1, 16)]


def without(tag: int, *more: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    return [entry for entry in GOOD if entry[0] != tag] + list(more)


def test_the_smallest_tiff() -> None:
    (main,) = layout_of(classic(*GOOD)).directories
    assert (main.offsets.tolist(), main.counts.tolist()) == ([8], [16])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"II",
        b"II*\x00" + bytes(4),
        b"II*\x00" + bytes(60),  # no directory
        b"<VRTDataset></VRTDataset>",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100),  # JPEG2000
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"II*\x00\xff\xff\xff\xff" + bytes(60),  # a directory beyond the end
        b"II+\x00\x04\x00\x00\x00" + bytes(60),
        b"II+\x00\x08\x00\x00\x00" + b"\xff" * 60,
        classic(*GOOD, next_at=8),  # a circle
        classic(*GOOD, count=0),
        classic(*GOOD, count=60_000),
        classic(*without(256)),
        classic(*without(257)),
        classic(*without(273)),
        classic(*without(279)),
        classic(*without(279, (279, 4, 0, 16))),
        classic(*without(279, (279, 5, 1, 16))),  # sizes as fractions
        classic(*without(279, (279, 4, 1, 0xFFFFFFFF))),  # a block of 4 GB
        classic(*without(273, (273, 4, 0x3FFFFFFF, 8))),  # a table of 4 GB
        classic(
            *without(256, (256, 4, 1, 0xFFFFFFFF)), (322, 3, 1, 1), (323, 3, 1, 1), (324, 4, 1, 8)
        ),
        classic(*GOOD, (700, 7, 0xFFFFFFF0, 8)),  # metadata of 4 GB
        classic(*GOOD, (284, 3, 1, 2), (277, 4, 1, 0x7FFFFFFF)),  # planes without number
        classic(*without(278, (278, 3, 1, 0))),
    ],
    ids=range(25),
)
def test_what_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteRefused):
        layout_of(data)


def test_a_chain_without_end_is_left() -> None:
    def read(offset: int, length: int) -> bytes:
        """Every directory leads to one a little further on."""
        if offset == 0:
            return (struct.pack("<2sHI", b"II", 42, 100) + bytes(length))[:length]
        if length == 2:
            return struct.pack("<H", 1)
        if length == 12:
            return struct.pack("<HHII", 256, 3, 1, 4)
        return struct.pack("<I", offset + 100)

    with pytest.raises(RemoteRefused, match="no chain"):
        read_layout(read, 1 << 40)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("tiff") / "a.tif", "tiled", side_px=128).read_bytes()


@given(flips=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=8))
def test_damage_is_refused_or_harmless(header: bytes, flips: list[tuple[int, int]]) -> None:
    data = bytearray(header)
    for at, value in flips:
        data[at % len(data)] = value
    try:
        layout = layout_of(bytes(data))
    except RemoteRefused:
        return
    for one in layout.directories:
        assert len(one.offsets) == len(one.counts) == one.across * one.down * one.planes
        assert (one.offsets >= 0).all()
        assert one.counts.dtype == np.int64
