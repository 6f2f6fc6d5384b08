"""The STAC Item written for a scene."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from shapely import MultiPolygon
from shapely.geometry import mapping

from constellation_pipelines.domain.scene import Band, Grid, Scene
from constellation_pipelines.geo import dateline

VERSION = "1.1.0"
EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
]
MEDIA_TYPES = {"GTiff": "image/tiff; application=geotiff", "JP2OpenJPEG": "image/jp2"}
FIRST_IMAGE_AT = datetime(1959, 8, 14, tzinfo=UTC)  # Explorer 6: no satellite image is older
