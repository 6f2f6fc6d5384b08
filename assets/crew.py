"""The engines of a run's devices at work: one client thread each, all telling one listener."""

import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from assets.work import Piece, Work
from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.inference.protocol import Message, PredictOrder
from constellation_pipelines.store.profiles import Known

ENGINE_RETURN_S = 60.0
LEAVE_S = 0.2  # a cancelled run has to be gone soon; what stays behind ends with the process


@dataclass
class Hand:
    """One leased device with its engine, and what this run has seen of it so far.

    `batch` is the most chips to give to it at once, `safe_batch` the same once the engine had to
    learn it. `device_s` are seconds in which it had tiles of this run, loading left out.
    """

    device: Known
    client: EngineClient
    batch: int | None = None
    safe_batch: int | None = None
    mem_mb: int | None = None
    tiles: int = 0
    device_s: float = 0.0
    connection: socket.socket | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A tile's result has come."""

    hand: Hand
    tile: TileResult


@dataclass(frozen=True, slots=True)
class Died:
    """An engine is gone. `missing` are the tiles of its piece without a result, `suspects` those
    of them that it was reading or computing at that moment.
    """

    hand: Hand
    missing: Piece
    suspects: Piece
    alone: bool
    error: EngineFailed


@dataclass(frozen=True, slots=True)
class Halved:
    """A batch of `refused` chips had no room on a device; `batch` is tried from now on."""

    hand: Hand
    refused: int
    batch: int


@dataclass(frozen=True, slots=True)
class Left:
    """No more work comes from this engine: it refused, broke the talk off, or did not return."""

    hand: Hand
    error: Exception


News = Result | Died | Halved | Left
Inbox = queue.SimpleQueue[News]


@contextmanager
def crew(hands: Sequence[Hand], work: Work, order: PredictOrder) -> Iterator[Inbox]:
    """Every engine at work until the work is done; leaving early makes them stop."""
    inbox: Inbox = queue.SimpleQueue()
    threads = [
        threading.Thread(target=serve, args=(hand, work, order, inbox), daemon=True)
        for hand in hands
    ]
    for thread in threads:
        thread.start()
    try:
        yield inbox
    finally:
        work.stop()
        for hand in hands:
            hang_up(hand)
        deadline = time.monotonic() + LEAVE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def hang_up(hand: Hand) -> None:
    """End the conversation with an engine, if there is one; it drops the rest of the order."""
    connection = hand.connection
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def serve(hand: Hand, work: Work, order: PredictOrder, inbox: Inbox) -> None:
    """A client thread: piece after piece, until there is none or the engine does not return."""
    try:
        while (piece := work.take()) is not None:
            if not run_piece(hand, replace(order, windows=piece, batch=hand.batch), inbox):
                wait_for_engine(hand.client, work)
    except Exception as error:
        if not work.stopped:
            inbox.put(Left(hand, error))


def run_piece(hand: Hand, order: PredictOrder, inbox: Inbox) -> bool:
    """Have a piece run and tell what comes of it; False when the engine died of it.

    Raises EngineFailed where it refused.
    """
    missing, flight = dict.fromkeys(order.windows), Flight(hand, inbox)
    began = seen = time.monotonic()
    load_s = 0.0
    try:
        for tile in hand.client.predict(order, flight.hear, flight.opened):
            missing.pop(tile.window, None)
            seen = time.monotonic()
            inbox.put(Result(hand, tile))
        summary = hand.client.summary
        load_s = summary["load_ms"] / 1000
        hand.mem_mb = max(filter(None, (hand.mem_mb, summary["mem_mb"])), default=None)
        return True
    except EngineFailed as error:
        if error.code != EngineFailed.code:
            raise
        suspects = tuple(window for window in missing if window in flight.windows)
        inbox.put(Died(hand, tuple(missing), suspects, len(order.windows) == 1, error))
        return False
    finally:
        hand.connection = None
        hand.device_s += max(0.0, seen - began - load_s)


@dataclass
class Flight:
    """The tiles that an engine is busy with, as it announces them."""

    hand: Hand
    inbox: Inbox
    reading: list[Window] = field(default_factory=list)
    computing: list[Window] = field(default_factory=list)

    @property
    def windows(self) -> set[Window]:
        """What it is reading or computing."""
        return {*self.reading, *self.computing}

    def opened(self, connection: socket.socket) -> None:
        """So that the conversation can be ended from outside."""
        self.hand.connection = connection

    def hear(self, message: Message) -> None:
        """A line that is no tile."""
        if "reading" in message:
            self.reading = [Window(*window) for window in message["reading"]]
        elif "computing" in message:
            self.computing = [Window(*window) for window in message["computing"]]
        elif "halved" in message:
            self.inbox.put(Halved(self.hand, **message["halved"]))


def wait_for_engine(client: EngineClient, work: Work) -> None:
    """Wait until the worker has brought the engine back. Raises EngineFailed after a minute."""
    deadline = time.monotonic() + ENGINE_RETURN_S
    while not work.stopped:
        try:
            client.hello()
            return
        except EngineFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def is_bad(tile: TileResult) -> bool:
    """Whether a tile came back without a result."""
    return tile.state is TileState.FAILED
