"""A scene: one acquisition, its raster and what is known about it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from constellation_pipelines.domain.quality import QualityMask


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixel grid of a raster.

    `transform` is the affine (a, b, c, d, e, f): x = a*col + b*row + c, y = d*col + e*row + f, with
    (col, row) counted from the upper left corner of the upper left pixel. `crs` is WKT or
    "EPSG:n". Block sizes are those of the file, and decide how tiles are cut. `aspect` is the width
    on the ground of the pixel at the centre over its height: degrees are not square.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width_px: int
    height_px: int
    block_width_px: int
    block_height_px: int
    aspect: float = 1.0


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a scene's raster. `index` counts from 1, as GDAL does.

    Physical value = stored value * scale + offset; `scale` is None where nobody has said.
    """

    index: int
    name: str
    common_name: str | None
    dtype: str
    scale: float | None = None
    offset: float | None = None
    wavelength_um: float | None = None  # the centre


@dataclass(frozen=True, slots=True)
class Scene:
    """A registered scene.

    `key` is its short unique name and Dagster partition key. `uri` is the absolute path of the
    raster. `digest` covers the file's bytes and how they are read - bands, scale, offset, nodata -
    because a result depends on both. `footprint` is GeoJSON in lon/lat, split at 180 degrees.
    `gsd_m` is the ground size of a pixel in metres, measured at the scene's centre.
    """

    id: UUID
    key: str
    uri: str
    digest: str
    grid: Grid
    bands: tuple[Band, ...]
    nodata: float | None
    gsd_m: float
    footprint: dict[str, Any]
    area_km2: float
    start_at: datetime | None = None
    end_at: datetime | None = None
    item: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    quality: QualityMask | None = None

    def band(self, common_name: str) -> Band | None:
        """The first band with this common name."""
        return next((band for band in self.bands if band.common_name == common_name), None)
