"""A mirror reads like the object where it is fetched, and nowhere else; a stop loses nothing."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.imagery.raster import open_raster
from constellation_pipelines.remote import mirror
from constellation_pipelines.remote.fetching import Fetcher
from constellation_pipelines.remote.hosts import Allowed
from constellation_pipelines.remote.mirror import JOURNAL, Mirror
from constellation_pipelines.remote.needs import Needs
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.remote.scenes import Description, describe_remote, open_mirror
from tests.remote.range_server import RangeServer, serving
from tests.remote.rasters import LAYOUTS, write, write_cog


class Far:
    """A raster behind a URL, and its mirror."""

    def __init__(self, file: Path, folder: Path, server: RangeServer) -> None:
        self.file = file
        self.folder = folder
        self.server = server
        self.ranges = Ranges(Allowed.of([server.origin], ["127.0.0.1"]), connections=4)
        self.scene: Scene = describe_remote(
            self.ranges, server.url("/a.tif"), folder, Description()
        )

    @property
    def mirror(self) -> Mirror:
        found = mirror.find(self.folder, self.scene.uri, self.scene.digest)
        assert found is not None
        return found

    @property
    def windows(self) -> list[Window]:
        return tile_windows(self.scene.grid, 64)

    def fetch(self, *windows: Window, halo_px: int = 0) -> None:
        needs = Needs(self.mirror, self.scene.grid, self.scene.grid, halo_px)
        fetcher = Fetcher(self.ranges, self.mirror, connections=4, stop=threading.Event())
        fetcher.fetch(needs.of_all(windows))

    def same(self, window: Window) -> bool:
        """Whether pixels and mask of a window are those of the file."""
        pixels, mask = read(self.file, window)
        here, mask_here = self.read(window)
        return bool((pixels == here).all() and (mask == mask_here).all())

    def read(self, window: Window) -> tuple[Any, Any]:
        return read(self.mirror.path, window)


def read(path: Path, window: Window) -> tuple[Any, Any]:
    place = RasterWindow(window.col_off_px, window.row_off_px, window.width_px, window.height_px)
    with open_raster(path) as raster:
        return raster.read(window=place), raster.read_masks(window=place)


@pytest.fixture
def far(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Far]:
    make = getattr(request, "param", lambda path: write_cog(path, mask=True))
    file = make(tmp_path / "a.tif")
    with serving(**{"a.tif": file.read_bytes()}) as server:
        opened = Far(file, tmp_path / "staging", server)
        with opened.ranges:
            yield opened


def layouts() -> list[Any]:
    made: list[Any] = [
        pytest.param(lambda path, name=name: write(path, name), id=name) for name in LAYOUTS
    ]
    made += [
        pytest.param(lambda path: write(path, "tiled", mask=True), id="mask"),
        pytest.param(lambda path: write_cog(path), id="cog"),
        pytest.param(lambda path: write_cog(path, mask=True), id="cog with mask"),
    ]
    return made


@pytest.mark.parametrize("far", layouts(), indirect=True)
def test_fetched_tiles_are_equal_to_the_bit(far: Far) -> None:
    far.fetch(far.windows[0])
    assert far.same(far.windows[0])
    far.fetch(*far.windows)
    assert all(far.same(window) for window in far.windows)
    assert far.mirror.staged().all()


@pytest.mark.parametrize("far", layouts(), indirect=True)
def test_what_was_not_fetched_is_an_error_and_never_zeros(far: Far) -> None:
    for window in far.windows:
        with pytest.raises(RasterioError):
            far.read(window)


def test_only_what_a_tile_needs_is_fetched(tmp_path: Path) -> None:
    file = write_cog(tmp_path / "a.tif", side_px=3000)
    with serving(**{"a.tif": file.read_bytes()}) as server:
        far = Far(file, tmp_path / "staging", server)
        with far.ranges:
            far.fetch(far.windows[0])
            assert far.same(far.windows[0])
            with pytest.raises(RasterioError):
                far.read(far.windows[-1])
            assert server.sent_bytes < file.stat().st_size / 10
            assert far.mirror.path.stat().st_size == file.stat().st_size
            assert far.mirror.path.stat().st_blocks * 512 < file.stat().st_size / 5


def test_a_halo_is_fetched_too(far: Far) -> None:
    window = Window(128, 128, 128, 128)
    far.fetch(window, halo_px=1)
    assert far.same(Window(127, 127, 130, 130))


def test_overviews_are_not_there_so_that_none_is_read_unfetched(far: Far) -> None:
    with open_raster(far.mirror.path) as raster, rasterio.open(far.file) as before:
        assert before.overviews(1) != []
        assert raster.overviews(1) == []


def test_a_sparse_file_has_its_holes_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", "tiled", sparse_ok=True)
    with rasterio.open(
        tmp_path / "b.tif", "w", **{**rasterio.open(file).profile, "sparse_ok": True}
    ) as raster:
        raster.write(np.ones((3, 128, 128), np.uint8), window=RasterWindow(0, 0, 128, 128))
    with serving(**{"a.tif": (tmp_path / "b.tif").read_bytes()}) as server:
        far = Far(tmp_path / "b.tif", tmp_path / "staging", server)
        with far.ranges:
            assert far.same(Window(128, 128, 400, 400))
            far.fetch(*far.windows)
            assert far.same(Window(0, 0, 600, 550))


def test_a_file_that_was_cut_off_fails_where_it_is_cut_and_nowhere_else(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", "tiled")
    cut = file.read_bytes()[: int(file.stat().st_size * 0.6)]
    with serving(**{"a.tif": cut}) as server:
        far = Far(file, tmp_path / "staging", server)
        with far.ranges:
            far.fetch(*far.windows)
            assert far.same(Window(0, 0, 128, 128))
            with pytest.raises(RasterioError):
                far.read(Window(500, 500, 50, 50))


def test_the_header_is_fetched_once(far: Far) -> None:
    before = len(far.server.asked)
    again = describe_remote(far.ranges, far.scene.uri, far.folder, Description())
    assert again.digest == far.scene.digest
    asked = len(far.server.asked)
    assert asked - before == before
    open_mirror(far.ranges, far.scene, far.folder)
    assert len(far.server.asked) == asked


def test_a_mirror_that_went_away_is_made_again(far: Far) -> None:
    far.fetch(*far.windows)
    for file in far.mirror.folder.iterdir():
        file.unlink()
    assert mirror.find(far.folder, far.scene.uri, far.scene.digest) is None
    (far.folder / far.mirror_folder()).rmdir() if False else None
    mirror.folder_of(far.folder, far.scene.uri, far.scene.digest).rmdir()
    made = open_mirror(far.ranges, far.scene, far.folder)
    assert not made.staged().any()
    far.fetch(far.windows[0])
    assert far.same(far.windows[0])


def test_half_a_mirror_is_replaced(far: Far) -> None:
    (far.mirror.folder / "about.json").unlink()
    made = open_mirror(far.ranges, far.scene, far.folder)
    assert not made.staged().any()


def test_whoever_believes_the_journal_finds_the_block(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is written last: a reader in between sees nothing staged."""
    seen: list[bool] = []
    note = Mirror._note

    def look(self: Mirror, blocks: Any) -> None:
        assert not self.staged()[list(blocks)].any()
        seen.append(far.same(far.windows[0]))
        note(self, blocks)

    monkeypatch.setattr(Mirror, "_note", look)
    far.fetch(far.windows[0])
    assert seen == [True]


def test_a_table_that_the_disk_lost_is_mended_from_the_journal(far: Far) -> None:
    far.fetch(far.windows[0])
    block = int(np.flatnonzero(far.mirror.staged())[0])
    table = far.mirror.directories[0]
    handle = os.open(far.mirror.path, os.O_WRONLY)
    os.pwrite(handle, b"\xff" * table.table_bytes, table.table_at + block * table.table_bytes)
    os.close(handle)
    with pytest.raises(RasterioError):
        far.read(far.windows[0])
    open_mirror(far.ranges, far.scene, far.folder)
    assert far.same(far.windows[0])


def test_a_stop_before_the_journal_fetches_the_block_again(far: Far) -> None:
    far.fetch(far.windows[0])
    journal = far.mirror.folder / JOURNAL
    journal.write_bytes(bytes(len(far.mirror.offsets)))
    before = far.server.sent_bytes
    far.fetch(far.windows[0])
    assert far.server.sent_bytes > before
    assert far.same(far.windows[0])


def test_two_writers_of_one_mirror_agree(far: Far) -> None:
    half = len(far.windows) // 2
    threads = [
        threading.Thread(target=far.fetch, args=far.windows[half:]),
        threading.Thread(target=far.fetch, args=far.windows[: half + 1]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(far.same(window) for window in far.windows)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a/b/T33.TIF", "T33.tif"),
        ("https://a/..%2f..%2fetc%2fpasswd", "2f..-2fetc-2fpasswd.tif"),
        ("s3://b/ü ö.tif", "scene.tif"),
        ("https://a/", "scene.tif"),
        ("https://a/" + "x" * 300, "x" * 100 + ".tif"),
    ],
)
def test_file_names_are_harmless(url: str, name: str) -> None:
    assert mirror.file_name_of(url) == name
