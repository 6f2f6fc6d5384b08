"""What a client and an engine say to each other: one JSON object a line over a Unix socket.

A client asks `{"hello": {}}`, `{"ping": {}}`, `{"probe": {}}` or `{"predict": {...}}`. The engine
answers the first three with one line of the same name, and predict with any number of these:

    tile        the result of one tile
    reading     windows of the tiles that are being read now, [] when none is
    computing   windows of the tiles whose chips are on the device now, [] when none is
    halved      {"refused", "batch"}: so many chips had no room, so many are tried from now on

and with one `done` or `error` at the end. Each request carries `version`. A window is a list of
four numbers: row and column offset, height, width.
"""

import json
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from constellation_pipelines.domain.errors import EngineFailed, InvalidInput
from constellation_pipelines.domain.quality import QualityKind, QualityMask
from constellation_pipelines.domain.scene import Band, Grid
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window

VERSION = 2
REFUSED = "request_refused"  # the code of an error in what was asked
OUT_OF_MEMORY = "out_of_memory"  # not even one chip has room
LONGEST_LINE_BYTES = 64_000_000  # an order for a million tiles
CHUNK_BYTES = 1 << 16

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PredictOrder:
    """Run a model over tiles of a raster.

    `bands` are in the model's order. `grid` is the one worked on: where it is not the raster's own,
    the raster is resampled to it as it is read. `work` is the folder of the run's working rasters,
    made where it is missing; engines of several devices may write into one. `batch` is the most
    chips to give to the device at once, None for the engine's own choice. Tiles of which more than
    `max_cloud_fraction` is clouded, by the quality mask, are skipped. Results come in reading
    order, not in the order of `windows`.
    """

    run_id: str
    model_folder: str
    model_digest: str
    uri: str
    grid: Grid
    bands: tuple[Band, ...]
    nodata: float | None
    windows: tuple[Window, ...]
    work: str
    batch: int | None = None
    quality: QualityMask | None = None
    max_cloud_fraction: float | None = None

    def to_json(self) -> Message:
        """As JSON values; windows as lists of four numbers, as there can be very many."""
        return {
            **asdict(self),
            "bands": [asdict(band) for band in self.bands],
            "windows": windows_to_json(self.windows),
        }

    @classmethod
    def from_json(cls, message: Message) -> "PredictOrder":
        """The order in a message. Raises InvalidInput where it is none."""
        try:
            grid = dict(message["grid"])
            grid["transform"] = tuple(grid["transform"])
            mask = message.get("quality")
            return cls(
                **{
                    **message,
                    "grid": Grid(**grid),
                    "bands": tuple(Band(**band) for band in message["bands"]),
                    "windows": tuple(Window(*window) for window in message["windows"]),
                    "quality": None if mask is None else quality_from_json(mask),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("the predict request is malformed") from error


def quality_from_json(message: Message) -> QualityMask:
    """The quality mask in a message."""
    return QualityMask(**{**message, "kind": QualityKind(message["kind"])})


def windows_to_json(windows: Iterable[Window]) -> list[list[int]]:
    """Windows as lists of four numbers."""
    return [[w.row_off_px, w.col_off_px, w.height_px, w.width_px] for w in windows]


def tile_to_json(tile: TileResult) -> Message:
    """A tile's result as JSON values."""
    counts = {str(value): count for value, count in tile.class_counts.items()}
    return {**asdict(tile), "class_counts": counts}


def tile_from_json(message: Message) -> TileResult:
    """The result in a message."""
    return TileResult(
        **{
            **message,
            "window": Window(**message["window"]),
            "state": TileState(message["state"]),
            "class_counts": {int(k): v for k, v in message["class_counts"].items()},
        }
    )


class Lines:
    """JSON lines over a connected socket, in both directions."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = bytearray()

    def send(self, message: Message) -> None:
        """Send one line. Raises OSError when the other side is gone or does not read."""
        self.connection.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def receive(self) -> Message | None:
        """The next line, or None once the other side closed. Raises EngineFailed for rubbish."""
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > LONGEST_LINE_BYTES:
                raise EngineFailed("a message on the engine's socket is too long")
            data = self.connection.recv(CHUNK_BYTES)
            if not data:
                return None
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return decode(line)


def decode(line: bytes) -> Message:
    """A line as an object. Raises EngineFailed for anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EngineFailed("a message on the engine's socket is not JSON") from error
    if not isinstance(message, dict):
        raise EngineFailed("a message on the engine's socket is not an object")
    return message
