"""A scene's quality mask: named by a caller, a band of the raster, or a file beside it."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.scene import Band, Grid
from constellation_pipelines.imagery.grid import describe_grid
from constellation_pipelines.imagery.raster import open_raster
from constellation_pipelines.imagery.side_item import SideItem

NAMES = {
    QualityKind.SCL: re.compile(r"(?<![a-z0-9])scl(?![a-z0-9])", re.IGNORECASE),
    QualityKind.QA_PIXEL: re.compile(r"(?<![a-z0-9])qa_pixel(?![a-z0-9])", re.IGNORECASE),
}
OFF_PX = 1.0  # the corners of scene and mask may be this far apart, in the larger pixels


def find_quality(
    path: Path,
    grid: Grid,
    bands: Sequence[Band],
    *,
    told: QualityMask | None = None,
    item: SideItem | None = None,
) -> QualityMask | None:
    """The mask of the raster at `path`; None where nothing tells of one.

    `told` wins, then a band of the raster called SCL or QA_PIXEL, then the Item's, whose file has
    to lie beside the raster and may be missing there. Raises SceneRefused for a mask that cannot
    be read as one or lies elsewhere on the Earth.
    """
    mask = told or _among(bands, path) or _beside(path, item)
    if mask is None:
        return None
    try:
        _check(mask, grid)
    except SceneRefused as error:
        raise SceneRefused(f"its quality mask: {error.message}", field="quality") from error
    return mask


def quality_digest(mask: QualityMask, content: str) -> list[object]:
    """What of a mask decides results: its kind, its band and the digest of its file."""
    return [mask.kind.value, mask.index, content]


def _among(bands: Sequence[Band], path: Path) -> QualityMask | None:
    for band in bands:
        for kind, pattern in NAMES.items():
            if pattern.search(band.name) and _whole(band.dtype):
                return QualityMask(kind, str(path), band.index)
    return None


def _beside(path: Path, item: SideItem | None) -> QualityMask | None:
    if item is None or item.mask is None:
        return None
    found = path.parent / item.mask.file_name
    if not found.exists():
        return None  # an Item of a catalogue lists much that nobody has downloaded
    # A link could lead out of the allowed folders.
    if os.path.realpath(found) != os.path.join(os.path.realpath(path.parent), found.name):
        raise SceneRefused(
            f"the quality mask {found.name} beside the raster is a link: name it with --quality",
            field="quality",
        )
    return QualityMask(item.mask.kind, str(found))


def _check(mask: QualityMask, grid: Grid) -> None:
    with open_raster(Path(mask.uri)) as dataset:
        if not 1 <= mask.index <= dataset.count:
            raise SceneRefused(f"it has {dataset.count} bands, none is number {mask.index}")
        dtype = str(dataset.dtypes[mask.index - 1])
        if not _whole(dtype):
            raise SceneRefused(f"it holds {dtype} values; classes and bits are whole numbers")
        if mask.kind is QualityKind.QA_PIXEL and np.dtype(dtype).itemsize < 2:
            raise SceneRefused(f"it holds {dtype} values; QA_PIXEL has 16 bits")
        found = describe_grid(dataset)
    if found.crs != grid.crs:
        raise SceneRefused("it has another CRS than the scene: warp it to the scene's")
    off = np.abs(_corners(found) - _corners(grid)).max()
    if not off <= OFF_PX * max(_longest(found), _longest(grid)):
        raise SceneRefused("it does not cover the same ground as the scene")


def _whole(dtype: str) -> bool:
    return re.fullmatch(r"u?int\d+", dtype) is not None


def _corners(grid: Grid) -> NDArray[np.float64]:
    a, b, c, d, e, f = grid.transform
    columns = np.array([0, grid.width_px, grid.width_px, 0])
    rows = np.array([0, 0, grid.height_px, grid.height_px])
    return np.stack([a * columns + b * rows + c, d * columns + e * rows + f])


def _longest(grid: Grid) -> float:
    a, b, _, d, e, _ = grid.transform
    return max(math.hypot(a, d), math.hypot(b, e))
