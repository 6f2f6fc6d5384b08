"""Files that were cut off behind their pixels: what says what the pixels mean is gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.domain.window import Window
from constellation_pipelines.imagery.describe import describe_scene
from constellation_pipelines.imagery.directories import is_cut_off
from tests.imagery import rasters

SIDE_PX = 128
TILED: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


def pixels() -> Any:
    return np.random.default_rng(3).integers(1, 255, (2, SIDE_PX, SIDE_PX), np.uint8)


def rewritten(path: Path, **more: Any) -> Path:
    """Nodata, scales and words are written once the pixels are there: behind them."""
    rasters.write(path, count=2, side_px=SIDE_PX, pixels=pixels(), **TILED, **more)
    with rasterio.open(path, "r+") as raster:
        raster.nodata = 5
        raster.scales, raster.offsets = (1e-4, 2e-4), (-0.1, 0.0)
        raster.update_tags(words="of no meaning " * 20)
    return path


def masked(path: Path, **more: Any) -> Path:
    """A mask in a directory of its own, behind the pixels."""
    valid = np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
    valid[30:70, 20:100] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        rasters.write(path, count=2, side_px=SIDE_PX, pixels=pixels(), **TILED, **more)
        with rasterio.open(path, "r+") as raster:
            raster.write_mask(valid)
    return path


def facts(scene: Scene) -> object:
    return scene.grid, scene.bands, scene.nodata


def masks(path: Path) -> bytes | None:
    """Of the whole file; None where they cannot be read."""
    from rasterio.errors import RasterioError

    from constellation_pipelines.imagery.raster import open_raster

    with open_raster(path) as raster:
        try:
            return bytes(raster.read_masks(1).tobytes())
        except RasterioError:
            return None


@pytest.mark.parametrize("made", [rewritten, masked])
@pytest.mark.parametrize("form", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}], ids=str)
def test_wherever_a_file_is_cut_off_it_means_the_same_or_is_refused(
    tmp_path: Path, made: Callable[..., Path], form: dict[str, str]
) -> None:
    path = made(tmp_path / "a.tif", **form)
    content, whole, mask = path.read_bytes(), facts(describe_scene(path)), masks(path)
    lengths = range(len(content) - 1500, len(content), 23)
    found = [found_at(path, content[:length]) for length in lengths]
    kept = [one for one in found if one is not None]
    assert all(told == whole and seen in (mask, None) for told, seen in kept)
    assert len(found) - len(kept) > 10


def found_at(path: Path, content: bytes) -> tuple[object, bytes | None] | None:
    """What a scene of these bytes is, and its mask; None where it is refused."""
    path.write_bytes(content)
    try:
        return facts(describe_scene(path)), masks(path)
    except SceneRefused:
        return None


def test_a_whole_file_is_whole(sample_data: Path, tmp_path: Path) -> None:
    found = [*sample_data.rglob("*.tif")]
    assert len(found) >= 11
    for path in (*found, masked(tmp_path / "a.tif"), rewritten(tmp_path / "b.tif")):
        with path.open("rb") as file:
            assert not is_cut_off(file.fileno()), path.name


@given(st.binary(max_size=300), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_whatever_the_bytes_it_ends_with_an_answer(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, magic: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.tif"
    path.write_bytes(magic + content)
    with path.open("rb") as file:
        assert is_cut_off(file.fileno()) in (True, False)


def test_windows_of_a_masked_file_are_what_they_were(tmp_path: Path) -> None:
    """The file is cut off once it is registered: it is not read as one without a mask."""
    from constellation_pipelines.inference.source import ReadOrder, open_source

    path = masked(tmp_path / "a.tif")
    scene = describe_scene(path)
    window = Window(0, 0, 64, 64)
    order = ReadOrder(path, scene.grid, (1, 2), None, (window,))
    with open_source(order) as source:
        assert not source.read(window)[1].all()
    content = path.read_bytes()
    path.write_bytes(content[:-600])
    with pytest.raises(SceneRefused, match="cut off"), open_source(order):
        pass
