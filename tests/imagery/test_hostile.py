"""Headers that lie: refused with a reason, or harmless; quickly and in no memory."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.imagery.raster import open_raster
from tests.imagery import rasters
from tests.imagery.rasters import (
    GDAL_METADATA,
    GDAL_NODATA,
    GEO_KEYS,
    LONG,
    PIXEL_SCALE,
    PLACE,
    TIEPOINT,
    Entry,
    doubles,
    header,
    longs,
    shorts,
    text,
    tiff,
)

FLAT_BYTES = 48 * 2**20


def changed(*entries: Entry, tile_px: int | None = None, bits: int = 8) -> list[Entry]:
    """A good header with some entries in the place of others."""
    return list((header(tile_px=tile_px, bits=bits) | {one[0]: one for one in entries}).values())


def sized(width_px: int, height_px: int, tile_px: int | None = None) -> list[Entry]:
    return list(header(width_px, height_px, tile_px=tile_px).values())


def epsg(code: int) -> Entry:
    return shorts(GEO_KEYS, 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, code)


REFUSED: dict[str, tuple[list[Entry], str]] = {
    "a million squared in a strip": (sized(10**6, 10**6), "claims 1000000 x 1000000 px"),
    "a million squared in tiles": (sized(10**6, 10**6, 256), "claims 1000000 x 1000000 px"),
    "as large as can be written": (sized(2**31 - 1, 2**31 - 1), "claims 2147483647"),
    "larger than can be counted": (sized(2**32 - 1, 2**32 - 1), "header is damaged"),
    "a line of a million": (sized(10**6, 1), "claims 1000000 x 1 px"),
    "within the limits, of nothing": (sized(100_000, 100_000, 512), "MiB of pixels in"),
    "no pixels": (sized(0, 0), "header is damaged"),
    "one block of 20,000": (sized(19_200, 19_200, 19_200), "blocks of 19200 x 19200"),
    "a block larger than the scene": (sized(64, 64, 2**31 - 16), "blocks of"),
    "more bands than any": (changed(shorts(277, 65_535)), "65535 bands"),
    "bits beyond reason": (changed(bits=65_535), "header is damaged"),
    "keys of a gigabyte": (changed((GEO_KEYS, 3, 2**30, 300)), "header is damaged"),
    "metadata of two gigabytes": (
        changed((GDAL_METADATA, 2, 2**31 - 1, 300)),
        "header is damaged",
    ),
    "a compression nobody knows": (changed(shorts(259, 12_345)), "header is damaged"),
    "a CRS nobody knows": (changed(epsg(65_000)), "CRS"),
    "a CRS of heights": (changed(epsg(5773)), "Vertical CRS"),
    **{
        f"pixels of {size}": (changed(doubles(PIXEL_SCALE, size, size, 0)), "")
        for size in (0.0, math.nan, math.inf, 1e308, 1e-308)
    },
    **{
        f"a corner at {place}": (changed(doubles(TIEPOINT, 0, 0, 0, place, place, 0)), "")
        for place in (math.nan, math.inf, 1e308)
    },
}
HARMLESS: dict[str, list[Entry]] = {
    "its IFD follows itself": changed(),
    "its parts contain it": changed(longs(330, 8)),
    "metadata that is no XML": changed(text(GDAL_METADATA, "<a><b></a>" * 10)),
    "a billion strips": [
        *(one for one in sized(1000, 1000) if one[0] not in (273, 278, 279)),
        (273, LONG, 10**9, 200),
        longs(278, 1),
        (279, LONG, 10**9, 200),
    ],
    "nodata in words": changed(text(GDAL_NODATA, "purple")),
    "nodata beyond all numbers": changed(text(GDAL_NODATA, "1e999")),
    "nodata that is no number": changed(text(GDAL_NODATA, "nan")),
    "nodata out of range": changed(text(GDAL_NODATA, "-9999")),
}


def written(folder: Path, name: str, entries: list[Entry]) -> Path:
    cycle = 8 if name == "its IFD follows itself" else 0
    return tiff(folder / f"{name.replace(' ', '-')[:40]}.tif", entries, next_at=cycle)


@pytest.mark.parametrize("name", REFUSED)
def test_a_header_that_lies_is_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    entries, reason = REFUSED[name]
    path = written(tmp_path, name, entries)
    with pytest.raises(SceneRefused) as caught:
        describe_scene(path)
    message = caught.value.message
    assert reason in message
    assert path.name in message
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("name", HARMLESS)
def test_a_header_that_is_only_odd_is_described_in_finite_numbers(
    tmp_path: Path, name: str
) -> None:
    scene = describe_scene(written(tmp_path, name, HARMLESS[name]))
    assert 0 < scene.area_km2 < 1000
    json.dumps(scene.item, allow_nan=False)
    json.dumps(scene.footprint, allow_nan=False)


def test_a_chain_of_sixty_thousand_overviews_is_only_odd(tmp_path: Path) -> None:
    place = {one[0] for one in PLACE}
    overview = [*changed(longs(254, 1), longs(256, 32), longs(257, 32))]
    bare = [one for one in overview if one[0] not in place]
    ifd = tiff(tmp_path / "overview.tif", bare).read_bytes()[8:]  # its last four bytes link on
    path = tiff(tmp_path / "chain.tif", changed())
    content = bytearray(path.read_bytes())
    link = 10 + 12 * len(changed())
    for _ in range(60_000):
        content[link : link + 4] = len(content).to_bytes(4, "little")
        link = len(content) + len(ifd) - 4
        content += ifd
    path.write_bytes(content)
    assert describe_scene(path).grid.width_px == 64


CHILD = """
import resource, sys, time
from pathlib import Path
from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.imagery.describe import describe_scene

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

describe_scene(Path(sys.argv[1]))  # what a first scene costs is no bomb's doing
before = peak()
for path in sys.argv[2:]:
    try:
        describe_scene(Path(path))
        print("DESCRIBED", path)
    except SceneRefused:
        pass
print(1024 * (peak() - before))
"""


def test_bombs_leave_the_memory_of_the_process_flat(tmp_path: Path) -> None:
    good = rasters.write(tmp_path / "good.tif")
    bombs = [written(tmp_path, name, entries) for name, (entries, _) in REFUSED.items()]
    sparse = rasters.write(
        tmp_path / "sparse.tif",
        side_px=60_000,
        count=1,
        compress="deflate",
        sparse_ok=True,
        tiled=True,
        blockxsize=4096,
        blockysize=4096,
    )
    began = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-c", CHILD, good, *bombs, sparse],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert time.monotonic() - began < 60
    *described, grown = child.stdout.splitlines()
    assert described == []
    assert int(grown) < FLAT_BYTES


def tiles_of(path: Path) -> dict[Window, bytes | None]:
    """Each tile's pixels, None where they cannot be read; nothing of a refused file."""
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as RasterWindow

    try:
        grid = describe_scene(path).grid
    except SceneRefused:
        return {}
    found: dict[Window, bytes | None] = {}
    with open_raster(path) as raster:
        for tile in tile_windows(grid, 64):
            place = RasterWindow(tile.col_off_px, tile.row_off_px, tile.width_px, tile.height_px)
            try:
                found[tile] = raster.read(window=place).tobytes()
            except RasterioError:
                found[tile] = None
    return found


TRUNCATED = (
    "scenes/s2_b01_missouri_32615.jp2",
    "scenes/s2_tci_libya_32634.tif",
    "scenes/naip_2018_nd_26914_rgbn.tif",
    "scenes/l7_rgb_byte_bahamas_32618.tif",
    "scenes/l8_c2l2_greenland_32624_7band.tif",
    "odd/dateline_32660.tif",
    "odd/all_nodata.tif",
    "odd/corrupt.tif",
)


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_file_that_is_cut_off_is_refused_or_loses_tiles_and_never_lies(
    sample_data: Path, tmp_path: Path, name: str
) -> None:
    content = (sample_data / name).read_bytes()
    path = tmp_path / Path(name).name
    path.write_bytes(content)
    whole = tiles_of(path)
    assert any(whole.values())
    for percent in (5, 35, 65, 95):
        path.write_bytes(content[: len(content) * percent // 100])
        for tile, pixels in tiles_of(path).items():
            assert pixels is None or pixels == whole[tile]
