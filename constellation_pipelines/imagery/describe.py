"""From a raster's header to a scene."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import shapely

from constellation_pipelines.domain.errors import InvalidInput, SceneRefused
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.quality import QualityMask
from constellation_pipelines.domain.scene import Band, Scene
from constellation_pipelines.geo.footprint import area_km2, grid_footprint, pixel_size_m
from constellation_pipelines.imagery.bands import Calibration, describe_bands
from constellation_pipelines.imagery.grid import describe_grid
from constellation_pipelines.imagery.item import write_item
from constellation_pipelines.imagery.quality import find_quality, quality_digest
from constellation_pipelines.imagery.raster import open_raster
from constellation_pipelines.imagery.side_item import read_side_item

MAX_KEY_CHARS = 100
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MEDIA_TYPES = {"GTiff": "image/tiff; application=geotiff", "JP2OpenJPEG": "image/jp2"}


def describe_scene(
    path: Path,
    *,
    bands: Sequence[str] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    key: str | None = None,
    quality: QualityMask | None = None,
    content_digest: str | None = None,
) -> Scene:
    """Describe a GeoTIFF or JPEG2000 file from its header, its digest and the Item beside it.

    `bands` names the bands in the file's order and wins over Item, descriptions and colours;
    `scale` and `offset` hold for every band: physical value = stored value * scale + offset.
    `key` is made from the file's name unless given. `quality` says which pixels are clouded; its
    path, like this one, is resolved already. `content_digest` stands for the file's sha256 where
    the file is a mirror whose pixels are not here. Raises SceneRefused with one line that says
    what to do; InvalidInput for a key that cannot be one.
    """
    path = path.absolute()
    calibration = Calibration(scale, offset)
    scene_key = key_from(path) if key is None else check_key(key)
    with open_raster(path) as dataset:
        try:
            grid = describe_grid(dataset)
            footprint = grid_footprint(grid)
            width_m, height_m = pixel_size_m(grid)
        except SceneRefused as error:
            raise SceneRefused(f"{path.name}: {error.message}", field=error.field) from error
        item = read_side_item(path)
        described = describe_bands(dataset, names=bands, item=item, calibration=calibration)
        mask = find_quality(path, grid, described, told=quality, item=item)
        nodata = None if dataset.nodata is None else float(dataset.nodata)
        media_type = MEDIA_TYPES[dataset.driver]
    content = content_digest or file_digest(path)
    scene = Scene(
        id=new_id(),
        key=scene_key,
        uri=str(path),
        digest=scene_digest(content, described, nodata, quality_parts(mask, path, content)),
        grid=replace(grid, aspect=width_m / height_m),
        bands=described,
        nodata=nodata,
        gsd_m=math.sqrt(width_m * height_m),
        footprint=json_of(footprint),
        area_km2=area_km2(footprint),
        start_at=item.start_at if item else None,
        end_at=item.end_at if item else None,
        quality=mask,
    )
    return with_item(scene, path, media_type)


def with_item(scene: Scene, path: Path, media_type: str) -> Scene:
    """The scene with a STAC Item of its own."""
    written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    item = write_item(scene, file_name=path.name, media_type=media_type, written_at=written_at)
    return replace(scene, item=item)


def key_from(path: Path) -> str:
    """A key made from a file's name. Raises InvalidInput when nothing usable is left of it."""
    plain = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    slug = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", plain))
    key = slug.strip("-._")[:MAX_KEY_CHARS]
    try:
        return check_key(key)
    except InvalidInput as error:
        raise InvalidInput(f"{path.name} makes no key: give one with --key", field="key") from error


def check_key(key: str) -> str:
    """The key, if URLs and Dagster's partitions can hold it. Raises InvalidInput."""
    if not KEY.fullmatch(key) or ".." in key:
        raise InvalidInput(
            "a key must have 1 to 100 letters, digits or . _ -, start with a letter or digit and "
            "have no two dots in a row",
            field="key",
        )
    try:
        UUID(key)
    except ValueError:
        return key
    raise InvalidInput("a key must not look like an id; choose a name", field="key")


def file_digest(path: Path) -> str:
    """Sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def quality_parts(mask: QualityMask | None, path: Path, content: str) -> list[object] | None:
    """What of a mask decides results; one that is a band of the raster has its content."""
    if mask is None:
        return None
    return quality_digest(mask, content if mask.uri == str(path) else file_digest(Path(mask.uri)))


def scene_digest(
    content: str,
    bands: Sequence[Band],
    nodata: float | None,
    quality: list[object] | None = None,
) -> str:
    """Sha256 over the digest of the content, how its values are to be read, and its quality mask.

    The same file with another scale is another scene to a model, so its results are others too.
    """
    parts: list[object] = [content, [_reading(band) for band in bands], nodata]
    if quality is not None:
        parts.append(quality)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _reading(band: Band) -> dict[str, Any]:
    """What of a band decides results; a wavelength only where it is known."""
    facts = asdict(band)
    if band.wavelength_um is None:
        del facts["wavelength_um"]
    return facts


def json_of(geometry: shapely.Geometry) -> dict[str, Any]:
    """A geometry as GeoJSON in plain lists, as JSON gives it back."""
    document: dict[str, Any] = json.loads(shapely.to_geojson(geometry))
    return document
