"""The engine's loader by itself."""

from pathlib import Path

from constellation_pipelines.inference.package import load_package
from constellation_pipelines.inference.protocol import PredictOrder


def chips_of(order: PredictOrder) -> int:
    """Read, mask and cut all chips of an order; how many there were."""
    from constellation_pipelines.inference.predict import select
    from constellation_pipelines.inference.reader import Reader, ReadOrder

    card = load_package(Path(order.model_folder)).card
    shape_px = (order.grid.height_px, order.grid.width_px)
    bands = tuple(band.index for band in order.bands)
    to_read = ReadOrder(Path(order.uri), shape_px, bands, order.nodata, order.windows)
    with Reader(to_read) as reader:
        return sum(select(tile, card.chip_px).left for group in reader for tile in group)
