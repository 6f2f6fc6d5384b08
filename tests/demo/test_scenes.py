"""The demonstration finds its scenes, and says which ones they are."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import rasterio

from constellation_pipelines.demo import scenes
from constellation_pipelines.domain.errors import ConstellationError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with no scenes beside it, and no network."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv(scenes.URL_VARIABLE, "http://127.0.0.1:1/scene.tif")
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A local web server with one scene."""
    folder = tmp_path / "served"
    folder.mkdir()
    scenes.generate(folder / "TCI.tif", size_px=64)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_the_named_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.tif", "a.JP2", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.setenv(scenes.VARIABLE, str(tmp_path))
    found = scenes.find(tmp_path / "data", print)
    assert [path.name for path in found.paths] == ["a.JP2", "b.tif"]


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_named_folder_without_scenes_is_an_error(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv(scenes.VARIABLE, str(tmp_path / folder))
    with pytest.raises(ConstellationError, match="CONSTELLATION_DEMO_SCENES"):
        scenes.find(tmp_path, print)


def test_else_a_public_scene_is_fetched_once(
    nowhere: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(scenes.URL_VARIABLE, f"{server}/TCI.tif")
    said: list[str] = []
    for _ in range(2):
        found = scenes.find(nowhere, said.append)
    assert found.remark == "a public Sentinel-2 scene"
    assert len(said) == 1
    with rasterio.open(found.paths[0]) as scene:
        assert scene.shape == (64, 64)


@pytest.mark.parametrize("path", ["/missing.tif", ""])
def test_a_download_that_fails_leaves_no_torn_file(
    path: str, nowhere: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server}{path}" if path else "http://127.0.0.1:1/scene.tif"
    monkeypatch.setenv(scenes.URL_VARIABLE, url)
    said: list[str] = []
    found = scenes.find(nowhere, said.append)
    assert "GENERATED" in found.remark
    assert "generated one takes its place" in said[-1]
    assert [path.name for path in (nowhere / "scenes").iterdir()] == ["generated.tif"]
