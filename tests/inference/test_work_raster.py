"""Working rasters: what is written anywhere is found there again, a tile in one stretch."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import EngineFailed, InvalidInput
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.work_raster import (
    Layout,
    Product,
    WorkRaster,
    are_whole,
    layouts,
    path_of,
)
from tests.inference.conftest import PACKAGE

LAYOUTS = (
    Layout(Product.CLASS, np.uint8),
    Layout(Product.SCORE, np.uint8, unit_px=7),
    Layout(Product.CLASS, np.uint8, unit_px=224),
    Layout(Product.VALUE, np.float32),
    Layout(Product.EMBEDDING, np.float32, 32, 5, 32),
    Layout(Product.EMBEDDING, np.float32, 48, 1, 48),
)
sides = st.one_of(st.integers(1, 70), st.integers(450, 1100), st.sampled_from([512, 1024, 672]))


def grid_of(height_px: int, width_px: int, block_px: tuple[int, int] = (512, 512)) -> Grid:
    transform = (10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0)
    return Grid("EPSG:32633", transform, width_px, height_px, block_px[1], block_px[0])


def nothing(layout: Layout, grid: Grid) -> NDArray[Any]:
    empty = 255 if layout.dtype is np.uint8 else np.nan
    return np.full(layout.shape(grid), empty, layout.dtype)


def some(layout: Layout, shape: tuple[int, ...], dice: np.random.Generator) -> NDArray[Any]:
    if layout.dtype is np.uint8:
        return dice.integers(0, 256, shape).astype(np.uint8)
    return np.where(dice.random(shape) < 0.1, np.nan, dice.normal(size=shape)).astype(np.float32)


@st.composite
def windows_of(draw: st.DrawFn, grid: Grid, cell_px: int) -> Window:
    """Any window that begins where a cell does; many reach from side to side."""
    top = draw(st.integers(0, (grid.height_px - 1) // cell_px)) * cell_px
    left = draw(
        st.sampled_from([0, draw(st.integers(0, (grid.width_px - 1) // cell_px)) * cell_px])
    )
    height = draw(st.integers(1, grid.height_px - top))
    width = draw(
        st.sampled_from([grid.width_px - left, draw(st.integers(1, grid.width_px - left))])
    )
    return Window(top, left, height, width)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_an_array_in_a_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any windows written one over the other, opened anew in between, read by any windows."""
    layout = data.draw(st.sampled_from(LAYOUTS))
    blocks = data.draw(st.sampled_from([(512, 512), (256, 256), (1, 1100), (300, 200), (640, 128)]))
    grid = grid_of(data.draw(sides), data.draw(sides), blocks)
    dice = np.random.default_rng(data.draw(st.integers(0, 99)))
    folder, expected = tmp_path_factory.mktemp("work"), nothing(layout, grid)
    for _ in range(data.draw(st.integers(0, 4))):
        window = data.draw(windows_of(grid, layout.cell_px))
        rows, columns = layout.cells(window)
        values = some(layout, expected[rows, columns].shape, dice)
        expected[rows, columns] = values
        with WorkRaster(folder, layout, grid) as raster:
            raster.write(window, values[:, :, 0] if layout.channels == 1 else values)
    with WorkRaster(folder, layout, grid) as raster:
        for _ in range(3):
            window = data.draw(windows_of(grid, layout.cell_px))
            found = raster.read(window)
            assert found.tobytes() == expected[layout.cells(window)].tobytes()
        whole = raster.read(Window(0, 0, grid.height_px, grid.width_px))
    assert whole.tobytes() == expected.tobytes()
    assert path_of(folder, layout.product).stat().st_size == expected.nbytes


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size_px", [(1300, 1100), (512, 512), (63, 700), (1, 1)])
def test_every_tile_is_one_stretch_of_the_file_and_they_fill_it(
    tmp_path: Path, layout: Layout, size_px: tuple[int, int]
) -> None:
    grid = grid_of(*size_px)
    path, length, seen = path_of(tmp_path, layout.product), layout.size_bytes(grid), 0
    for tile in tile_windows(grid, layout.unit_px):
        rows, columns = layout.cells(tile)
        shape = (rows.stop - rows.start, columns.stop - columns.start, layout.channels)
        with WorkRaster(tmp_path, layout, grid) as raster:
            raster.write(tile, np.ones(shape, layout.dtype))
        (written,) = np.fromfile(path, np.uint8).nonzero()
        stretch = int(np.prod(shape)) * np.dtype(layout.dtype).itemsize
        # Tiles come in the order of their blocks, so what is written grows from the front.
        seen += stretch
        assert (written.max() // 4, written.min() // 4) == ((seen - 1) // 4, 0)
    assert seen == length


def test_a_window_that_begins_inside_a_cell_is_no_window_of_it(tmp_path: Path) -> None:
    layout = Layout(Product.EMBEDDING, np.float32, 32, 5, 32)
    with (
        WorkRaster(tmp_path, layout, grid_of(100, 100)) as raster,
        pytest.raises(ValueError, match="does not begin"),
    ):
        raster.read(Window(0, 16, 32, 32))


def test_a_raster_that_was_cut_off_meanwhile_is_told_of(tmp_path: Path) -> None:
    layout, grid = LAYOUTS[0], grid_of(600, 600)
    with WorkRaster(tmp_path, layout, grid) as raster:
        os.truncate(path_of(tmp_path, layout.product), 1000)
        with pytest.raises(EngineFailed, match="cut off"):
            raster.read(Window(0, 0, 600, 600))
    with pytest.raises(InvalidInput, match="another size"):
        WorkRaster(tmp_path, layout, grid)


def test_a_file_of_an_earlier_layout_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    """It has the same length, but its pixels lie row by row."""
    card, grid = load_package(PACKAGE).card, grid_of(700, 600)
    (tmp_path / "class.raw").write_bytes(bytes(700 * 600))
    assert not are_whole(tmp_path, card, grid)
    (layout,) = layouts(card)
    with WorkRaster(tmp_path, layout, grid):
        assert are_whole(tmp_path, card, grid)
    assert not are_whole(tmp_path, card, grid_of(700, 601))


FULL_DISK = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.work_raster import WorkRaster
from tests.inference.test_work_raster import LAYOUTS, grid_of

grid, tile = grid_of(1024, 1024), Window(512, 512, 512, 512)
with WorkRaster(Path(sys.argv[1]), LAYOUTS[0], grid) as raster:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    most = 512 * 1024 + 512 * 512 + 70_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        raster.write(tile, np.full((512, 512), 3, np.uint8))
    except EngineFailed as error:
        print(error.message)
"""


def test_a_write_that_is_taken_in_part_only_is_an_error(tmp_path: Path) -> None:
    """The kernel writes what there is room for and says how much; the rest must not be lost."""
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == (
        f"the working raster cannot be written: {os.strerror(errno.EFBIG)}"
    )


WRITER = """
import sys
import numpy as np
from pathlib import Path
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.inference.work_raster import WorkRaster
from tests.inference.test_work_raster import LAYOUTS, grid_of

layout, grid = LAYOUTS[0], grid_of(3000, 3000)
with WorkRaster(Path(sys.argv[1]), layout, grid) as raster:
    for number, tile in enumerate(tile_windows(grid, 1)):
        raster.write(tile, np.full((tile.height_px, tile.width_px), number, np.uint8))
        print(number, flush=True)
"""


@pytest.mark.parametrize("after", [0, 7, 20])
def test_what_was_written_outlives_a_killed_process(tmp_path: Path, after: int) -> None:
    layout, grid = LAYOUTS[0], grid_of(3000, 3000)
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = -1
        while told < after:
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        told = max([told, *map(int, writer.stdout.read().split())])
    with WorkRaster(tmp_path, layout, grid) as raster:
        for number, tile in enumerate(tile_windows(grid, 1)):
            if number <= told:
                assert (raster.read(tile) == number).all()
            else:  # a tile that was not reported may be there in part, and is computed again
                assert np.isin(raster.read(tile), [number, 255]).all()
