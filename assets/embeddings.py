"""Embeddings of a run's chips, from the working raster into GeoParquet and back."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.plan import Plan
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.footprint import window_footprints
from constellation_pipelines.inference.work_raster import WorkRaster, layouts
from constellation_pipelines.lake import embeddings
from constellation_pipelines.lake.embeddings import Chip, embedding_writer

GROUP_BYTES = 16_000_000  # of vectors in a row group


def write_embeddings(plan: Plan, common: dict[str, str]) -> None:
    """Write the chips of all planned tiles that have a vector, tile by tile.

    A chip whose vector holds what is no number is left out.
    """
    card, grid = plan.model.card, plan.fit.grid
    (layout,) = layouts(card)
    with (
        WorkRaster(plan.files.work, layout, grid) as raster,
        embedding_writer(plan.files.embeddings, card.channels, common) as writer,
    ):
        for chips, vectors in groups(plan, raster):
            footprints = window_footprints(grid, [chip.window for chip in chips])
            writer.write(chips, vectors, footprints)


def groups(plan: Plan, raster: WorkRaster) -> Iterator[tuple[list[Chip], NDArray[np.float32]]]:
    """Chips with their vectors (chips, channels), in row groups of whole tiles."""
    chips: list[Chip] = []
    parts: list[NDArray[np.float32]] = []
    for tile, digest in plan.digests.items():
        cells = raster.read(tile)
        there = np.isfinite(cells).all(axis=2)
        places = chips_of(tile, plan.model.card.chip_px)
        chips += [Chip(digest, places[index]) for index in there.ravel().nonzero()[0]]
        parts.append(cells[there])
        if sum(part.nbytes for part in parts) >= GROUP_BYTES:
            yield chips, np.concatenate(parts)
            chips, parts = [], []
    if chips:
        yield chips, np.concatenate(parts)


def chips_of(tile: Window, chip_px: int) -> list[Window]:
    """The chips of a tile, row-major, clipped at its lower right edges."""
    return [
        Window(row, col, min(chip_px, tile.row_end_px - row), min(chip_px, tile.col_end_px - col))
        for row in range(tile.row_off_px, tile.row_end_px, chip_px)
        for col in range(tile.col_off_px, tile.col_end_px, chip_px)
    ]


def copy_embeddings(source: Path, digests: Collection[str], plan: Plan) -> None:
    """Copy the vectors of tiles from a run's file into the plan's working raster."""
    (layout,) = layouts(plan.model.card)
    with WorkRaster(plan.files.work, layout, plan.fit.grid) as raster:
        for chips, vectors in embeddings.read(source, digests):
            for chip, vector in zip(chips, vectors, strict=True):
                raster.write(chip, vector[None, None])
