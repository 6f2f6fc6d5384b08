"""The STAC Item written for a scene."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import shapely

from constellation_pipelines.domain.scene import Band, Grid, Scene
from constellation_pipelines.geo import dateline

EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
FIRST_IMAGE_AT = datetime(1959, 8, 14, tzinfo=UTC)  # by Explorer 6; no satellite image is older


def write_item(scene: Scene, *, file_name: str, media_type: str, written_at: datetime) -> Any:
    """A STAC 1.1 Item (dict) of a scene; its one asset is the raster, by file name.

    STAC demands a time. Where none is known the Item spans all it can have been, up to
    `written_at`, when the file was, and says `constellation:time_known: false`.
    """
    import pystac

    footprint = shapely.geometry.shape(scene.footprint)
    start_at, end_at = scene.start_at or FIRST_IMAGE_AT, scene.end_at or written_at
    single = start_at if start_at == end_at else None
    item = pystac.Item(
        id=scene.key,
        geometry=json.loads(shapely.to_geojson(footprint)),
        bbox=list(dateline.bounds(footprint)),
        datetime=single,
        start_datetime=None if single else start_at,
        end_datetime=None if single else max(start_at, end_at),
        properties=_properties(scene),
        stac_extensions=_extensions(scene),
    )
    asset = pystac.Asset(href=file_name, media_type=media_type, roles=["data"])
    asset.extra_fields["bands"] = [_band(band, scene.nodata) for band in scene.bands]
    item.add_asset("data", asset)
    return item.to_dict(include_self_link=False)


def _extensions(scene: Scene) -> list[str]:
    """The extensions in use: a schema demands at least one of its fields."""
    eo = [EO] if any(band.common_name or band.wavelength_um for band in scene.bands) else []
    raster = [RASTER] if any(band.scale is not None for band in scene.bands) else []
    return [PROJECTION, *eo, *raster]


def _properties(scene: Scene) -> dict[str, Any]:
    known = scene.start_at is not None
    return {"gsd": scene.gsd_m, "constellation:time_known": known} | _projection(scene.grid)


def _projection(grid: Grid) -> dict[str, Any]:
    by_code = grid.crs.startswith("EPSG:")
    crs = {"proj:code": grid.crs} if by_code else {"proj:code": None, "proj:wkt2": grid.crs}
    shape = [grid.height_px, grid.width_px]
    return crs | {"proj:shape": shape, "proj:transform": list(grid.transform)}


def _band(band: Band, nodata: float | None) -> dict[str, Any]:
    facts = {
        "name": band.name,
        "data_type": _data_type(band.dtype),
        "nodata": _nodata(nodata),
        "eo:common_name": band.common_name,
        "eo:center_wavelength": band.wavelength_um,
        "raster:scale": band.scale,
        "raster:offset": band.offset,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _data_type(dtype: str) -> str:
    """STAC's word for a type: GDAL calls complex ones by the bits of both parts."""
    words = {"complex_int16": "cint16", "complex64": "cfloat32", "complex128": "cfloat64"}
    return words.get(dtype, dtype)


def _nodata(nodata: float | None) -> float | str | None:
    """JSON has no NaN and no infinity; STAC writes them as words."""
    if nodata is None or math.isfinite(nodata):
        return nodata
    if math.isnan(nodata):
        return "nan"
    return "inf" if nodata > 0 else "-inf"
