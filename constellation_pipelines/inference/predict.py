"""Tiles of a scene through a network: read, cut, infer, write."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from constellation_pipelines.domain.errors import InvalidInput, ReadFailed
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.ahead import Ahead
from constellation_pipelines.inference.chip_tiles import ChipTiles
from constellation_pipelines.inference.computing import Computing
from constellation_pipelines.inference.dense_tiles import DenseTiles
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.normalise import Normaliser
from constellation_pipelines.inference.piece import Piece, Work
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.inference.source import ReadOrder, Source, open_source
from constellation_pipelines.inference.stream import Listener, Nobody, Stream
from constellation_pipelines.inference.work_raster import Product, WorkRaster, layouts


class Cancelled(Exception):
    """Nobody wants the rest of this prediction any more."""


def predict(
    order: PredictOrder,
    network: Network,
    *,
    cancelled: Callable[[], bool],
    device: Computing | None = None,
    listener: Listener | None = None,
) -> Iterator[TileResult]:
    """Each tile's result; what was found in it is in the working rasters by then.

    Tiles that are skipped come first, the others in reading order. A tile that cannot be read
    yields a failed result. `cancelled` is asked after each batch, and once it says yes, Cancelled
    is raised. Raises what opening the raster raises, DeviceLost, and torch.OutOfMemoryError where
    the device has no room for a single chip.
    """
    check(order, network.card)
    device, listener = device or Computing(network.device), listener or Nobody()
    normaliser = Normaliser(network.card, order.bands, network.device, network.dtype)
    folder = Path(order.work)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        rasters = {
            layout.product: stack.enter_context(WorkRaster(folder, layout, order.grid))
            for layout in layouts(network.card)
        }
        work = work_of(network, rasters, order)
        reading = Reading(order, work, device, listener)
        pieces = stack.enter_context(Ahead(reading.pieces))
        stream = Stream(network, normaliser, work, device, listener, order.batch)
        for results in stream.run(pieces):
            for result in results:
                yield reading.with_clouds(result)
            if cancelled():
                raise Cancelled


def work_of(network: Network, rasters: dict[Product, WorkRaster], order: PredictOrder) -> Work:
    """How tiles are made for this kind of model."""
    if network.card.dense:
        return DenseTiles(network, rasters, order.grid)
    return ChipTiles(network.card, rasters)


class Reading:
    """The reader's part of a prediction: clouds first, then the tiles that are worth reading."""

    def __init__(
        self, order: PredictOrder, work: Work, device: Computing, listener: Listener
    ) -> None:
        self._order = order
        self._work = work
        self._device = device
        self._listener = listener
        self._clouds: dict[Window, float] = {}

    def pieces(self) -> Iterator[Piece]:
        """Everything that there is to read, in the reader's thread."""
        order = self._order
        numbers = tuple(band.index for band in order.bands)
        to_read = ReadOrder(
            Path(order.uri), order.grid, numbers, order.nodata, order.windows, order.quality
        )
        with open_source(to_read) as source:
            done = self._screened(source)
            if done:
                yield Piece([], done=done)
            without = {result.window for result in done}
            wanted = tuple(window for window in order.windows if window not in without)
            yield from self._work.read(source, wanted, self._listener.reading, self._spoils)

    def with_clouds(self, result: TileResult) -> TileResult:
        """The result with what the quality mask says of its tile."""
        clouds = self._clouds.get(result.window)
        return result if clouds is None else replace(result, cloud_fraction=clouds)

    def _screened(self, source: Source) -> list[TileResult]:
        """Results of the tiles that are not read: too clouded, or nobody can tell."""
        if self._order.quality is None:
            return []
        done = []
        for window in sorted(self._order.windows):
            try:
                clouds = source.cloud_fraction(window)
            except ReadFailed as error:
                done.append(TileResult(window, TileState.FAILED, error=error.message))
                continue
            if clouds is not None:
                self._clouds[window] = clouds
            most = self._order.max_cloud_fraction
            if clouds is not None and most is not None and clouds > most:
                done.append(TileResult(window, TileState.SKIPPED))
        return done

    def _spoils(self, window: Window) -> bool:
        faulty = self._device.faulty
        return faulty is not None and faulty.spoils_read(window)


def check(order: PredictOrder, card: ModelCard) -> None:
    """Raise InvalidInput for an order that contradicts itself or the card."""
    if len(order.bands) != len(card.bands):
        raise InvalidInput(
            f"{card.reference} takes {len(card.bands)} bands, not {len(order.bands)}"
        )
    for tile in order.windows:
        inside = (
            0 <= tile.row_off_px < tile.row_end_px <= order.grid.height_px
            and 0 <= tile.col_off_px < tile.col_end_px <= order.grid.width_px
        )
        if not inside:
            raise InvalidInput(f"tile {tile} does not lie in the scene")
