"""Small rasters made for tests."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NORTH_UP = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)


def write(
    path: Path,
    *,
    crs: str | None = "EPSG:32633",
    transform: tuple[float, ...] | None = NORTH_UP,
    count: int = 3,
    dtype: str = "uint8",
    side_px: int = 64,
    tags: dict[str, dict[str, str]] | None = None,
    descriptions: tuple[str, ...] = (),
    pixels: NDArray[Any] | None = None,
    band_tags: dict[int, dict[str, dict[str, str]]] | None = None,
    **profile: Any,
) -> Path:
    """A GeoTIFF of `pixels`, or of ones; `tags` by namespace. Empty when `sparse_ok` is set.

    `band_tags` are by band, from 1, and namespace.
    """
    import warnings

    import rasterio
    from affine import Affine
    from rasterio.errors import NotGeoreferencedWarning

    facts = {"width": side_px, "height": side_px, "driver": "GTiff", **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            count=count,
            dtype=dtype,
            crs=crs,
            transform=None if transform is None else Affine(*transform),
            **facts,
        ) as raster:
            if pixels is not None:
                raster.write(pixels)
            elif not profile.get("sparse_ok"):
                raster.write(np.ones((count, facts["height"], facts["width"]), dtype=dtype))
            for namespace, values in (tags or {}).items():
                raster.update_tags(ns=namespace, **values)
            for band, spaces in (band_tags or {}).items():
                for namespace, values in spaces.items():
                    raster.update_tags(band, ns=namespace or None, **values)
            for index, text in enumerate(descriptions):
                raster.set_band_description(index + 1, text)
    return path


VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS>
<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>
<VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


# ---- TIFF by hand ----

Entry = tuple[int, int, int, bytes | int]  # tag, type, count, the values or where they are
SHORT, LONG, DOUBLE = 3, 4, 12
ASCII = 2


def shorts(tag: int, *values: int) -> Entry:
    return tag, SHORT, len(values), struct.pack(f"<{len(values)}H", *values)


def longs(tag: int, *values: int) -> Entry:
    return tag, LONG, len(values), struct.pack(f"<{len(values)}I", *values)


def doubles(tag: int, *values: float) -> Entry:
    return tag, DOUBLE, len(values), struct.pack(f"<{len(values)}d", *values)


def text(tag: int, value: str) -> Entry:
    content = value.encode() + b"\0"
    return tag, ASCII, len(content), content


PIXEL_SCALE, TIEPOINT, GEO_KEYS, GDAL_NODATA, GDAL_METADATA = 33550, 33922, 34735, 42113, 42112
PLACE = (
    doubles(PIXEL_SCALE, 10, 10, 0),
    doubles(TIEPOINT, 0, 0, 0, 5e5, 5e6, 0),
    shorts(GEO_KEYS, 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633),
)


def header(
    width_px: int = 64, height_px: int = 64, *, tile_px: int | None = None, bits: int = 8
) -> dict[int, Entry]:
    """Entries, by tag, of a file of one band in one strip, or in tiles that are not there."""
    layout = (
        (longs(273, 8), longs(278, height_px), longs(279, 64))
        if tile_px is None
        else (longs(322, tile_px), longs(323, tile_px), longs(324, 8), longs(325, 64))
    )
    entries = (
        longs(256, width_px),
        longs(257, height_px),
        shorts(258, bits),
        shorts(259, 1),
        shorts(262, 1),
        shorts(277, 1),
        *layout,
        *PLACE,
    )
    return {entry[0]: entry for entry in entries}


def tiff(path: Path, entries: Iterable[Entry], *, next_at: int = 0) -> Path:
    """A little-endian TIFF of these entries and nothing else; its next IFD is at `next_at`."""
    ordered = sorted(entries)
    end = 8 + 2 + 12 * len(ordered) + 4
    table, values = b"", b""
    for tag, kind, count, value in ordered:
        if isinstance(value, int):
            field = struct.pack("<I", value)
        elif len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field = struct.pack("<I", end + len(values))
            values += value
        table += struct.pack("<HHI", tag, kind, count) + field
    start = struct.pack("<2sHIH", b"II", 42, 8, len(ordered))
    path.write_bytes(start + table + struct.pack("<I", next_at) + values)
    return path
