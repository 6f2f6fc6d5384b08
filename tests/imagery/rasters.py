"""Small rasters made for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NORTH_UP = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)


def write(
    path: Path,
    *,
    crs: str | None = "EPSG:32633",
    transform: tuple[float, ...] | None = NORTH_UP,
    count: int = 3,
    dtype: str = "uint8",
    side_px: int = 64,
    tags: dict[str, dict[str, str]] | None = None,
    descriptions: tuple[str, ...] = (),
    pixels: NDArray[Any] | None = None,
    band_tags: dict[int, dict[str, dict[str, str]]] | None = None,
    **profile: Any,
) -> Path:
    """A GeoTIFF of `pixels`, or of ones; `tags` by namespace. Empty when `sparse_ok` is set.

    `band_tags` are by band, from 1, and namespace.
    """
    import warnings

    import rasterio
    from affine import Affine
    from rasterio.errors import NotGeoreferencedWarning

    facts = {"width": side_px, "height": side_px, "driver": "GTiff", **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            count=count,
            dtype=dtype,
            crs=crs,
            transform=None if transform is None else Affine(*transform),
            **facts,
        ) as raster:
            if pixels is not None:
                raster.write(pixels)
            elif not profile.get("sparse_ok"):
                raster.write(np.ones((count, facts["height"], facts["width"]), dtype=dtype))
            for namespace, values in (tags or {}).items():
                raster.update_tags(ns=namespace, **values)
            for band, spaces in (band_tags or {}).items():
                for namespace, values in spaces.items():
                    raster.update_tags(band, ns=namespace or None, **values)
            for index, text in enumerate(descriptions):
                raster.set_band_description(index + 1, text)
    return path


VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS>
<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>
<VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""
