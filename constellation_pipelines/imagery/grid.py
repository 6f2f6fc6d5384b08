"""The pixel grid of an open raster."""

import math
from typing import Any

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.imagery.crs import HOW_TO_WARP, describe_crs

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def describe_grid(dataset: Any) -> Grid:
    """The pixel grid of an open dataset. Raises SceneRefused when it has no place on the Earth."""
    if all("complex" in dtype for dtype in dataset.dtypes):
        raise SceneRefused(
            "all its bands are complex numbers; make an amplitude or intensity raster of it"
        )
    transform = tuple(float(value) for value in tuple(dataset.transform)[:6])
    crs = _crs_wkt(dataset, has_transform=transform != IDENTITY)
    a, b, _, d, e, _ = transform
    if not all(map(math.isfinite, transform)) or a * e == b * d:
        raise SceneRefused("its geotransform is degenerate; write it again with a valid one")
    block_height_px, block_width_px = dataset.block_shapes[0]
    return Grid(
        crs=describe_crs(crs),
        transform=transform,  # type: ignore[arg-type]
        width_px=dataset.width,
        height_px=dataset.height,
        block_width_px=block_width_px,
        block_height_px=block_height_px,
    )


def _crs_wkt(dataset: Any, *, has_transform: bool) -> str:
    from rasterio.errors import CRSError

    try:
        crs, gcps = dataset.crs, dataset.gcps[0]
        wkt = str(crs.to_wkt()) if crs else ""
    except (CRSError, UnicodeDecodeError) as error:
        raise SceneRefused(f"its CRS cannot be understood; {HOW_TO_WARP}") from error
    if gcps and not (wkt and has_transform):
        raise SceneRefused(f"it is placed by ground control points only; {HOW_TO_WARP}")
    if not wkt and dataset.rpcs:
        raise SceneRefused(
            "it is placed by rational polynomials (RPC) only; orthorectify it first (gdalwarp -rpc)"
        )
    if not wkt:
        raise SceneRefused("it has no CRS; assign one (gdal_edit.py -a_srs EPSG:...)")
    if not has_transform:
        raise SceneRefused("it has a CRS but no geotransform: its place on the Earth is unknown")
    return wkt
