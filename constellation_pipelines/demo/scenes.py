"""Scenes to show: the ones named, else a public one, else a generated one."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from constellation_pipelines.domain.errors import ConstellationError

VARIABLE = "CONSTELLATION_DEMO_SCENES"
URL_VARIABLE = "CONSTELLATION_DEMO_URL"
BESIDE = Path("../shared/data/scenes")
SUFFIXES = {".tif", ".tiff", ".jp2"}

# Sentinel-2A true colour of 1 July 2020, tile 36QWD, 10 m, from the open Sentinel-2 COGs.
PUBLIC_SCENE = (
    "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/"
    "36/Q/WD/2020/7/S2A_36QWD_20200701_0_L2A/TCI.tif"
)
CONNECT_S = 5.0
GENERATED_PX = 1024


@dataclass(frozen=True, slots=True)
class DemoScenes:
    """Where the scenes lie, which they are, and what to say of them."""

    folder: Path
    paths: tuple[Path, ...]
    remark: str


def find(data_dir: Path, tell: Callable[[str], None]) -> DemoScenes:
    """The scenes to show. Raises ConstellationError when the named folder holds none."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else BESIDE
    if named or folder.is_dir():
        paths = rasters(folder)
        if not paths:
            raise ConstellationError(
                f"{VARIABLE} names {folder}, which holds no .tif, .tiff or .jp2 file"
            )
        return DemoScenes(folder.resolve(), paths, f"{len(paths)} scenes from {folder}")
    own = data_dir / "scenes"
    own.mkdir(parents=True, exist_ok=True)
    url = os.environ.get(URL_VARIABLE, PUBLIC_SCENE)
    try:
        path = download(url, own, tell)
        return DemoScenes(own, (path,), "a public Sentinel-2 scene")
    except OSError as error:
        tell(f"no public scene ({error}); a generated one takes its place")
    remark = "a GENERATED scene, not satellite imagery: the classes found in it mean nothing"
    return DemoScenes(own, (generate(own / "generated.tif"),), remark)


def rasters(folder: Path) -> tuple[Path, ...]:
    """Raster files of a folder by name."""
    if not folder.is_dir():
        return ()
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return tuple(sorted(path.resolve() for path in found))


def download(url: str, folder: Path, tell: Callable[[str], None]) -> Path:
    """Fetch a scene once. Raises OSError when the network does not allow it."""
    import httpx

    path = folder / f"public-{Path(url).name}"
    if path.exists():
        return path
    partial = path.with_suffix(".partial")
    timeout = httpx.Timeout(30, connect=CONNECT_S)
    try:
        with httpx.stream("GET", url, timeout=timeout) as reply, partial.open("wb") as file:
            reply.raise_for_status()
            tell(f"downloading {url} ({int(reply.headers.get('content-length', 0)) >> 20} MB)")
            for chunk in reply.iter_bytes():
                file.write(chunk)
        partial.rename(path)
    except httpx.HTTPError as error:
        raise OSError(f"{url}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def generate(path: Path, size_px: int = GENERATED_PX) -> Path:
    """Write a smooth, seeded 8-bit scene of 10 m pixels."""
    import numpy
    import rasterio
    from rasterio.transform import Affine

    random = numpy.random.default_rng(0)
    coarse = random.uniform(40, 200, (3, size_px // 64, size_px // 64))
    smooth = numpy.kron(coarse, numpy.ones((64, 64)))
    noisy = smooth + random.normal(0, 8, (3, size_px, size_px))
    pixels = noisy.clip(1, 255).astype("uint8")
    profile = {
        "driver": "GTiff",
        "width": size_px,
        "height": size_px,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "photometric": "rgb",
    }
    with rasterio.open(path, "w", **profile) as scene:
        scene.write(pixels)
    return path
