"""Polygons of a class raster, strip by strip: what goes on in the next strip is joined to it."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
from shapely import Polygon

from constellation_pipelines.domain.model import ModelCard, Vectors
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo import dateline
from constellation_pipelines.geo.footprint import area_km2, window_footprints
from constellation_pipelines.geo.polygons import PixelPolygons
from constellation_pipelines.lake.geoparquet import geo_writer

STRIP_PX = 1024
ROWS = 4096  # of a row group
SPARE = 2.0  # how much larger a pixel may be than the largest of those that were measured

Outline = tuple[int, Polygon]  # class value, polygon in pixels


def write_vectors(
    raster: Path, grid: Grid, card: ModelCard, path: Path, common: dict[str, str]
) -> None:
    """GeoParquet of the polygons that the card asks for: each a connected area of one class.

    Columns are class_value, class_name, area_km2 and geometry (lon/lat, split at 180 degrees).
    """
    import pyarrow

    if card.vectors is None:
        return
    names = {found.value: found.name for found in card.classes}
    columns = {
        "class_value": pyarrow.int16(),
        "class_name": pyarrow.string(),
        "area_km2": pyarrow.float64(),
    }
    with geo_writer(path, columns, common) as writer:
        for group in batches(placed(raster, grid, card.vectors)):
            values, areas, polygons = zip(*group, strict=True)
            named = [names[value] for value in values]
            facts = {"class_value": values, "class_name": named, "area_km2": areas}
            writer.write(facts, polygons)


Placed = tuple[int, float, shapely.MultiPolygon]  # class value, area in km2, lon/lat


def placed(raster: Path, grid: Grid, asked: Vectors) -> Iterator[Placed]:
    """The polygons on the Earth that are large enough."""
    earth = PixelPolygons(grid)
    least_km2 = asked.min_area_m2 / 1e6
    least_px = least_km2 / (SPARE * largest_pixel_km2(grid))
    for value, outline in outlines(raster, asked.values):
        if outline.area < least_px:
            continue
        polygon = earth.place(outline)
        size_km2 = earth.area_km2(polygon)
        if not polygon.is_empty and size_km2 >= least_km2:
            yield value, size_km2, polygon


def largest_pixel_km2(grid: Grid) -> float:
    """The largest of 25 pixels all over the grid."""
    rows = np.linspace(0, grid.height_px - 1, 5).astype(int)
    columns = np.linspace(0, grid.width_px - 1, 5).astype(int)
    windows = [Window(int(row), int(column), 1, 1) for row in rows for column in columns]
    return max(map(area_km2, window_footprints(grid, windows)))


def batches(found: Iterator[Placed]) -> Iterator[list[Placed]]:
    """So many at a time."""
    group: list[Placed] = []
    for one in found:
        group.append(one)
        if len(group) == ROWS:
            yield group
            group = []
    if group:
        yield group


def outlines(raster: Path, values: tuple[int, ...]) -> Iterator[Outline]:
    """Connected areas of these classes, neighbours by sides not by corners, as polygons in pixels.

    In memory are those of a strip, and those that a later strip may still add to.
    """
    import rasterio

    open_ones: list[Outline] = []
    with rasterio.open(raster, driver="GTiff") as source:
        for top in range(0, source.height, STRIP_PX):
            bottom = min(top + STRIP_PX, source.height)
            strip = source.read(1, window=((top, bottom), (0, source.width)))
            found = list(strip_outlines(strip, top, values))
            joined = join(open_ones, [one for one in found if one[1].bounds[1] == top])
            free = [one for one in found if one[1].bounds[1] > top]
            open_ones = []
            for value, polygon in (*joined, *free):
                if polygon.bounds[3] == bottom < source.height:
                    open_ones.append((value, polygon))
                else:
                    yield value, polygon


def strip_outlines(
    strip: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", top: int, values: tuple[int, ...]
) -> Iterator[Outline]:
    """The outlines within one strip that begins at row `top`."""
    import rasterio
    from rasterio.features import shapes

    wanted = np.isin(strip, values)
    shift = rasterio.Affine.translation(0, top)
    for geometry, value in shapes(strip, mask=wanted, connectivity=4, transform=shift):
        shell, *holes = geometry["coordinates"]
        yield int(value), Polygon(shell, holes)


def join(above: list[Outline], below: list[Outline]) -> list[Outline]:
    """PixelPolygons on both sides of a seam, those of one class joined where they share a side."""
    by_value: dict[int, list[Polygon]] = defaultdict(list)
    for value, polygon in (*above, *below):
        by_value[value].append(polygon)
    return [
        (value, part)
        for value, polygons in by_value.items()
        for part in dateline.polygons_of(shapely.union_all(polygons))
    ]
