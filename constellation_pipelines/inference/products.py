"""What a run's rasters are: classes, their scores, values; each from its working raster."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.scene import Grid
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.cog import Rows, Sheet, write_cog
from constellation_pipelines.inference.regrid import regridded
from constellation_pipelines.inference.work_raster import (
    NOTHING,
    Layout,
    Product,
    WorkRaster,
    layouts,
)

RASTERS = (Product.CLASS, Product.SCORE, Product.VALUE)


def raster_layouts(card: ModelCard) -> list[Layout]:
    """The products of a model that become rasters."""
    return [layout for layout in layouts(card) if layout.product in RASTERS]


def write_raster(
    work: Path,
    layout: Layout,
    grids: tuple[Grid, Grid],
    card: ModelCard,
    path: Path,
    tags: Mapping[str, str],
) -> None:
    """Write one product as a COG. `grids` are the one worked on and the one of the file.

    Tag `model` is added to those given, and to class rasters `classes`: JSON, name by value. Raises
    OSError where the disk does not take it.
    """
    worked, scene = grids
    with WorkRaster(work, layout, worked) as raster:
        rows = rows_of(raster, worked)
        if scene != worked:
            rows = regridded(rows, worked, scene, smooth=layout.product is Product.VALUE)
        sheet = sheet_of(layout, scene, card)
        write_cog(replace(sheet, tags={**tags, **sheet.tags}), rows, path)


def sheet_of(layout: Layout, grid: Grid, card: ModelCard) -> Sheet:
    """How a product's raster is written."""
    tags = {"model": card.reference}
    if layout.product is Product.VALUE:
        return Sheet(grid, np.float32, np.nan, "value", tags, unit=card.unit)
    if layout.product is Product.SCORE:
        return Sheet(grid, np.uint8, NOTHING, "score", tags, unit="%")
    names = {str(found.value): found.name for found in card.classes}
    tags["classes"] = json.dumps(names)
    return Sheet(grid, np.uint8, NOTHING, "class", tags, colours=colour_table(card))


def rows_of(raster: WorkRaster, grid: Grid) -> Rows:
    """Whole rows of a working raster of single pixels."""

    def read(top: int, height_px: int) -> NDArray[Any]:
        return raster.read(Window(top, 0, height_px, grid.width_px))[:, :, 0]

    return read


def colour_table(card: ModelCard) -> dict[int, tuple[int, int, int, int]]:
    """Red, green, blue, alpha by class value."""
    table: dict[int, tuple[int, int, int, int]] = {}
    for found in card.classes:
        red, green, blue = bytes.fromhex(found.color.removeprefix("#"))
        table[found.value] = (red, green, blue, 255)
    return {**table, NOTHING: (0, 0, 0, 0)}
