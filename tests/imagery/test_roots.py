import os
from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.imagery.roots import resolve_scene_path
from tests.imagery.listener import listen

SECRET = "the content of a secret file"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a scene in a folder, and a secret beside the root."""
    folder = tmp_path / "scenes"
    (folder / "2020").mkdir(parents=True)
    (folder / "2020" / "a.tif").write_bytes(b"II*\0")
    (tmp_path / "secret.tif").write_text(SECRET)
    (tmp_path / "scenes-of-others").mkdir()
    (tmp_path / "scenes-of-others" / "b.tif").write_text(SECRET)
    return folder


def refusal(reference: str, *roots: Path) -> str:
    with pytest.raises(SceneRefused) as caught:
        resolve_scene_path(reference, roots)
    message = caught.value.message
    assert caught.value.field == "path"
    assert SECRET not in message
    assert "secret" not in message
    assert not any(str(root.parent) in message for root in roots)
    assert message.isprintable()
    return message


def test_relative_and_absolute_references_lead_to_the_same_file(root: Path) -> None:
    expected = (root / "2020" / "a.tif").resolve()
    assert resolve_scene_path("2020/a.tif", (root,)) == expected
    assert resolve_scene_path(str(root / "2020" / "a.tif"), (root,)) == expected
    assert resolve_scene_path("2020/../2020/./a.tif", (root,)) == expected


def test_a_relative_reference_is_looked_for_under_each_root(root: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    roots = (first, tmp_path / "no such folder", root)
    assert resolve_scene_path("2020/a.tif", roots) == (root / "2020" / "a.tif").resolve()


def test_a_link_within_the_roots_is_followed(root: Path) -> None:
    (root / "latest.tif").symlink_to(root / "2020" / "a.tif")
    assert resolve_scene_path("latest.tif", (root,)) == (root / "2020" / "a.tif").resolve()


def test_a_root_that_is_a_link_is_the_folder_it_leads_to(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    assert resolve_scene_path("2020/a.tif", (link,)) == (root / "2020" / "a.tif").resolve()


@pytest.mark.parametrize(
    "reference",
    [
        "../secret.tif",
        "2020/../../secret.tif",
        "{outside}/secret.tif",
        "{outside}/scenes-of-others/b.tif",  # begins like the root, and is another folder
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "/dev/stdin",
        "no such file.tif",
        "../no such file.tif",
        "~/a.tif",
        "2020/a.tif/../../../secret.tif",
        "x" * 300,
    ],
)
def test_what_lies_outside_or_does_not_exist_is_refused_alike(root: Path, reference: str) -> None:
    message = refusal(reference.format(outside=root.parent), root)
    assert message == refusal("missing.tif", root)


def test_links_that_leave_the_roots_are_refused(root: Path) -> None:
    (root / "leak.tif").symlink_to(root.parent / "secret.tif")
    (root / "folder").symlink_to(root.parent)
    (root / "circle.tif").symlink_to(root / "circle.tif")
    (root / "dangling.tif").symlink_to(root / "gone.tif")
    for reference in ("leak.tif", "folder/secret.tif", "circle.tif", "dangling.tif"):
        assert "lies outside" in refusal(reference, root)


ATTACKS = [
    "/vsicurl?header_file={secret}&url=http://127.0.0.1:{port}/a.tif",
    "/vsicurl/http://127.0.0.1:{port}/a.tif",
    "//vsicurl/http://127.0.0.1:{port}/a.tif",
    "/./vsicurl/http://127.0.0.1:{port}/a.tif",
    "/VSICURL/http://127.0.0.1:{port}/a.tif",
    "vsicurl/http://127.0.0.1:{port}/a.tif",
    "/vsicurl_streaming/http://127.0.0.1:{port}/a.tif",
    "/vsis3/bucket/a.tif",
    "/vsizip/{secret}",
    "/vsitar//vsicurl/http://127.0.0.1:{port}/a.tar",
    "/vsistdin/",
    "/vsimem/a.tif",
    "/vsisubfile/0_10,{secret}",
    "http://127.0.0.1:{port}/a.tif",
    "HTTP://127.0.0.1:{port}/a.tif",
    "https://127.0.0.1:{port}/a.tif",
    "http://169.254.169.254/latest/meta-data/",
    "ftp://127.0.0.1:{port}/a.tif",
    "s3://bucket/a.tif",
    "file://{secret}",
    "vrt://{secret}",
    "vrt://http://127.0.0.1:{port}/a.tif",
    "zip+http://127.0.0.1:{port}/a.zip!a.tif",
    "GTIFF_DIR:1:{secret}",
    "NETCDF:{secret}:x",
    "DERIVED_SUBDATASET:LOGAMPLITUDE:{secret}",
    "WMS:http://127.0.0.1:{port}/?",
    "C:\\secret.tif",
    "<VRTDataset></VRTDataset>",
    '{{"type":"Feature"}}',
    "",
    "a\0.tif",
    "2020/a.tif\0.png",
    "a\n.tif",
    "a\r\nX-Forged: 1.tif",
    "\x1b[31ma.tif",
    "a\u2028b.tif",
    "a\ud800.tif",
    "x" * 5000,
    "a/" * 2000,
]


@pytest.mark.parametrize("reference", ATTACKS)
def test_no_attack_reaches_gdal_or_the_network(root: Path, reference: str) -> None:
    with listen() as listener:
        text = reference.replace("{secret}", str(root.parent / "secret.tif"))
        refusal(text.replace("{port}", str(listener.port)), root)
        assert listener.count() == 0


def test_folders_pipes_and_devices_are_refused(root: Path) -> None:
    os.mkfifo(root / "pipe.tif")
    assert "not a file" in refusal("pipe.tif", root)
    assert "not a file" in refusal("2020", root)
    assert "not a file" in refusal(".", root)


def test_a_name_that_could_forge_log_lines_is_refused_behind_a_link(root: Path) -> None:
    (root / "a\nb.tif").write_bytes(b"II*\0")
    (root / "plain.tif").symlink_to(root / "a\nb.tif")
    assert "control characters" in refusal("plain.tif", root)


def test_without_roots_nothing_is_a_scene() -> None:
    refusal("/etc/hostname")
