"""The engine's loader by itself."""

from pathlib import Path
from typing import Any

from constellation_pipelines.inference.protocol import PredictOrder


def chips_of(order: PredictOrder, network: Any) -> int:
    """Read, mask and cut all chips of an order, as for this network; how many there were."""
    from constellation_pipelines.inference.predict import work_of
    from constellation_pipelines.inference.source import ReadOrder, open_source

    bands = tuple(band.index for band in order.bands)
    to_read = ReadOrder(Path(order.uri), order.grid, bands, order.nodata, order.windows)
    work = work_of(network, {}, order)
    with open_source(to_read) as source:
        pieces = work.read(source, order.windows, lambda _: None, lambda _: False)
        return sum(len(cut) for piece in pieces for cut in piece.cuts)
