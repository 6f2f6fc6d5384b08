import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.imagery.raster import open_raster
from tests.imagery import rasters
from tests.imagery.listener import listen


def refusal(path: Path) -> str:
    with pytest.raises(SceneRefused) as caught, open_raster(path):
        pass
    message = caught.value.message
    assert message.isprintable()
    assert str(path.parent) not in message
    return message


class Memory:
    """The peak of this process's resident memory since `__init__`."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # start a new peak
        self._start_bytes = self._peak_bytes()

    def grown_bytes(self) -> int:
        return self._peak_bytes() - self._start_bytes

    @staticmethod
    def _peak_bytes() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")


def test_scenes_open_with_the_driver_their_bytes_name(sample_data: Path) -> None:
    opened = {}
    for path in (sample_data / "scenes").iterdir():
        if path.suffix != ".json":
            with open_raster(path) as dataset:
                opened[path.suffix] = dataset.driver
                assert dataset.width > 0
    assert opened == {".tif": "GTiff", ".jp2": "JP2OpenJPEG"}


@pytest.mark.parametrize("profile", [{"bigtiff": "YES"}, {"endianness": "BIG"}, {}])
def test_every_form_of_tiff_opens_whatever_its_name(
    tmp_path: Path, profile: dict[str, Any]
) -> None:
    path = rasters.write(tmp_path / "scene.dat", **profile)
    with open_raster(path) as dataset:
        assert (dataset.read() == 1).all()


def test_the_raster_is_closed_afterwards_and_errors_inside_pass_through(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif")
    with pytest.raises(KeyError, match="mine"), open_raster(path) as dataset:
        raise KeyError("mine")
    assert dataset.closed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"II",
        b"GIF89a" + bytes(64),
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        b"\x89HDF\r\n\x1a\n" + bytes(64),
        b"CDF\x01" + bytes(64),
        b"PK\x03\x04" + bytes(64),
        b"<GDAL_WMS></GDAL_WMS>",
        b'{"type": "Feature"}',
        b"/vsicurl/http://127.0.0.1/a.tif",
    ],
)
def test_other_formats_are_refused_before_gdal_sees_them(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert "neither a GeoTIFF nor a JPEG2000" in refusal(path)


def test_vrt_named_tif_is_refused_and_calls_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with listen() as listener:
        source = f"/vsicurl/http://127.0.0.1:{listener.port}/b.tif"
        path.write_text(rasters.VRT.format(source=source))
        assert "neither" in refusal(path)
        assert listener.count() == 0


@pytest.mark.parametrize("magic", [b"II*\0", b"MM\0*", b"II+\0", b"\0\0\0\x0cjP  \r\n\x87\n"])
def test_a_file_that_is_only_magic_bytes_is_refused(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "a.tif"
    for tail in (b"", bytes(100), b"\xff" * 100, rasters.VRT.encode()):
        path.write_bytes(magic + tail)
        assert "header is damaged" in refusal(path)


def reason_or_none(path: Path) -> str | None:
    """Why the raster is refused, or None when it opens within the limits."""
    try:
        with open_raster(path) as dataset:
            assert 0 < dataset.width <= 200_000
            return None
    except SceneRefused as error:
        return error.message


def test_a_header_cut_off_anywhere_is_refused_by_name_or_opens(tmp_path: Path) -> None:
    whole = rasters.write(tmp_path / "whole.tif").read_bytes()
    path = tmp_path / "cut.tif"
    reasons = []
    for length in range(16, len(whole), 37):
        path.write_bytes(whole[:length])
        reasons.append(reason_or_none(path))
    assert all("cut.tif" in reason for reason in reasons if reason)
    assert reasons[0] is not None


# rasterio stumbles, without harm, when GDAL complains in bytes of the file that are no text.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_header_with_any_bytes_changed_is_refused_by_name_or_opens(tmp_path: Path) -> None:
    whole = rasters.write(tmp_path / "whole.tif", side_px=8, compress="deflate").read_bytes()
    path = tmp_path / "changed.tif"
    random = np.random.default_rng(0)
    reasons = []
    for _ in range(300):
        changed = bytearray(whole)
        for at in random.integers(4, len(whole), 3):
            changed[at] = random.integers(256)
        path.write_bytes(changed)
        reasons.append(reason_or_none(path))
    assert all("changed.tif" in reason for reason in reasons if reason)
    assert 0 < reasons.count(None) < len(reasons)


def test_files_beside_the_raster_change_nothing(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif")
    rasters.write(tmp_path / "a.tif.ovr", side_px=32)
    rasters.write(tmp_path / "a.tif.msk", count=1)
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:3857</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>"
        '<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/etc/passwd</MDI></Metadata>'
        "</PAMDataset>"
    )
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    with open_raster(path) as dataset:
        assert tuple(dataset.transform)[:6] == rasters.NORTH_UP
        assert dataset.crs.to_epsg() == 32633
        assert dataset.overviews(1) == []
        assert dataset.files == [str(path)]
    assert not list(tmp_path.glob("*.aux.xml.tmp"))


def test_a_raster_that_names_another_file_as_its_overviews_is_refused(tmp_path: Path) -> None:
    with listen() as listener:
        url = f"/vsicurl/http://127.0.0.1:{listener.port}/a.tif"
        for index, target in enumerate((url, "/etc/passwd", str(tmp_path / "other.tif"))):
            tags = {"OVERVIEWS": {"OVERVIEW_FILE": target}}
            path = rasters.write(tmp_path / f"{index}.tif", tags=tags)
            message = refusal(path)
            assert "overviews in another file" in message
            assert target not in message
        assert listener.count() == 0


def test_network_is_off_for_whatever_runs_inside(tmp_path: Path) -> None:
    import rasterio
    from rasterio.errors import RasterioError

    path = rasters.write(tmp_path / "a.tif")
    secret = tmp_path / "secret"
    secret.write_text("X: the content of a secret file")
    with listen() as listener, open_raster(path):
        for name in (
            f"/vsicurl/http://127.0.0.1:{listener.port}/a.tif",
            f"/vsicurl?header_file={secret}&url=http://127.0.0.1:{listener.port}/a.tif",
        ):
            with pytest.raises(RasterioError):
                rasterio.open(name)
        assert listener.count() == 0


SPARSE: dict[str, Any] = {"sparse_ok": True, "tiled": True}


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ({"side_px": 1_000_000, "blockxsize": 16_384, "blockysize": 16_384}, "claims 1000000 x"),
        ({"side_px": 190_000, "blockxsize": 4096, "blockysize": 4096}, "billion px"),
        ({"side_px": 100_000, "blockxsize": 16_384, "blockysize": 16_384}, "blocks of"),
        ({"side_px": 60_000, "blockxsize": 4096, "blockysize": 4096, "count": 1}, "MiB of pixels"),
        ({"side_px": 64, "count": 1500, "blockxsize": 16, "blockysize": 16}, "1500 bands"),
    ],
)
def test_bombs_are_refused_from_the_header(
    tmp_path: Path, profile: dict[str, Any], reason: str
) -> None:
    path = rasters.write(
        tmp_path / "bomb.tif", dtype="uint16", compress="deflate", **SPARSE, **profile
    )
    assert path.stat().st_size < 4_000_000
    memory = Memory()
    assert reason in refusal(path)
    assert memory.grown_bytes() < 64 * 2**20


def test_one_block_as_large_as_a_scene_is_refused(tmp_path: Path) -> None:
    side_px = 20_000
    path = rasters.write(
        tmp_path / "block.tif",
        side_px=side_px,
        blockxsize=side_px,
        blockysize=side_px,
        count=1,
        **SPARSE,
    )
    memory = Memory()
    assert "blocks of 20000 x 20000 px" in refusal(path)
    assert memory.grown_bytes() < 64 * 2**20


def test_a_small_empty_raster_is_no_bomb(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", side_px=4096, sparse_ok=True, tiled=True, count=1)
    with open_raster(path) as dataset:
        assert dataset.width == 4096


def test_a_jpeg2000_that_claims_absurd_sizes_is_refused(sample_data: Path, tmp_path: Path) -> None:
    content = bytearray(
        (sample_data / "scenes" / "s2_b01_missouri_32615.jp2").read_bytes()[:200_000]
    )
    at = content.index(b"\xff\x4f\xff\x51") + 8  # SIZ: capabilities, then width and height
    content[at : at + 8] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    header = content.index(b"ihdr") + 4
    content[header : header + 8] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    path = tmp_path / "bomb.jp2"
    path.write_bytes(content)
    memory = Memory()
    refusal(path)
    assert memory.grown_bytes() < 64 * 2**20


def test_a_raster_without_georeference_opens_without_a_warning(tmp_path: Path) -> None:
    path = rasters.write(tmp_path / "a.tif", crs=None, transform=None)
    with open_raster(path) as dataset:
        assert dataset.crs is None


def test_a_pipe_in_the_place_of_a_raster_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")
    refusal(tmp_path / "a.tif")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.tif").startswith("gone.tif cannot be read")
