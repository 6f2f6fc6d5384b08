"""Files of every form, cut off at 5 to 95 %: pixels and what of them holds data are what they were,
or the tile says that it cannot be read, or the file is refused.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from constellation_pipelines.domain.errors import ReadFailed, SceneRefused
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.inference.source import ReadOrder, open_source
from tests.imagery import rasters

SIDE_PX = 256
WINDOWS = tuple(
    Window(top, left, 64, 64) for top in range(0, SIDE_PX, 64) for left in range(0, SIDE_PX, 64)
)
TILED: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {**TILED, "interleave": "pixel"},
    "strips": {"interleave": "pixel"},
    "planes": {"interleave": "band"},
}
JP2 = {"driver": "JP2OpenJPEG", "REVERSIBLE": "YES", "QUALITY": "100"}
FORMS: dict[str, dict[str, Any]] = {
    **{
        f"{codec}, {name}": {"compress": codec, **layout}
        for codec in ("none", "lzw", "deflate", "zstd", "packbits", "jpeg", "webp", "lerc")
        for name, layout in LAYOUTS.items()
        if (codec, name) != ("webp", "planes")  # there is no such thing
    },
    "BigTIFF": {"compress": "deflate", "BIGTIFF": "YES", **TILED},
    "big-endian": {"compress": "lzw", "ENDIANNESS": "BIG", **TILED},
    "with a mask": {"compress": "deflate", **TILED, "masked": True},
    "JPEG2000 in one": {**JP2, "BLOCKXSIZE": SIDE_PX, "BLOCKYSIZE": SIDE_PX},
    "JPEG2000 in tiles": {**JP2, "BLOCKXSIZE": 64, "BLOCKYSIZE": 64},
    "JPEG2000 by layers": {**JP2, "PROGRESSION": "LRCP", "BLOCKXSIZE": 128, "BLOCKYSIZE": 128},
}


def written(path: Path, form: dict[str, Any]) -> Path:
    """Three bands that compress somewhat, one per cent of them missing where there is a mask."""
    facts = {name: value for name, value in form.items() if name != "masked"}
    steps = np.random.default_rng(0).integers(1, 60, (3, SIDE_PX, SIDE_PX))
    pixels = (steps.cumsum(2) % 251 + 1).astype(np.uint8)
    rasters.write(path, side_px=SIDE_PX, pixels=pixels, **facts)
    if "masked" in form:
        valid = np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
        valid[50:150, 30:200] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
            raster.write_mask(valid)
    return path


def tiles_of(path: Path, grid: Grid) -> dict[Window, tuple[bytes, bytes]]:
    """Pixels and validity of the tiles that can be read."""
    found = {}
    try:
        with open_source(ReadOrder(path, grid, (1, 2, 3), None, WINDOWS)) as source:
            for window in WINDOWS:
                try:
                    pixels, valid = source.read(window)
                except ReadFailed:
                    continue
                found[window] = pixels.tobytes(), valid.tobytes()
    except (SceneRefused, ReadFailed):
        return {}
    return found


@pytest.mark.parametrize("name", FORMS)
def test_a_file_that_was_cut_off_never_lies(tmp_path: Path, name: str) -> None:
    suffix = "jp2" if "JPEG2000" in name else "tif"
    path = written(tmp_path / f"a.{suffix}", FORMS[name])
    grid = describe_scene(path).grid
    content, whole = path.read_bytes(), tiles_of(path, grid)
    assert len(whole) == len(WINDOWS)
    lost = 0
    for percent in (5, 20, 40, 60, 80, 95):
        path.write_bytes(content[: len(content) * percent // 100])
        left = tiles_of(path, grid)
        assert all(found == whole[window] for window, found in left.items()), percent
        lost += len(whole) - len(left)
    assert lost >= len(WINDOWS)
