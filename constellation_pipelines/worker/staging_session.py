"""One run's pixels on their way to this host: from the order to the last block."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import numpy as np

from constellation_pipelines.domain.errors import ConstellationError, ServiceUnavailable
from constellation_pipelines.remote import mirror
from constellation_pipelines.remote.fetching import Fetcher
from constellation_pipelines.remote.mirror import Mirror
from constellation_pipelines.remote.ranges import Ranges
from constellation_pipelines.remote.room import make_room
from constellation_pipelines.remote.scenes import open_mirror
from constellation_pipelines.remote.tiff import Numbers
from constellation_pipelines.store import queue, stagings
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.stagings import Order, Progress
from constellation_pipelines.worker.staged_tiles import Wanted, wanted_of

FIRST_BYTES = 8 * 2**20  # with these a run is ready; working them off takes it some seconds
GROUP_BYTES = 64 * 2**20  # runs of one scene take turns with as much
NOTE_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a stager. Pauses between attempts double from the first to the longest."""

    connections: int = 8
    attempts: int = 8
    most_bytes: int = 20_000 * 2**20
    first_bytes: int = FIRST_BYTES
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0


@dataclass(frozen=True)
class Parts:
    """What the sessions of a worker share. `reserved` is what each still has to write."""

    database: Database
    worker_id: UUID
    ranges: Ranges
    folder: Path
    limits: Limits = field(default_factory=Limits)
    room: threading.Lock = field(default_factory=threading.Lock)
    reserved: dict[UUID, int] = field(default_factory=dict)
    turns: dict[Path, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))


class Session:
    """Fetches what a run needs. `came` says whether a byte of it came; `stop` ends it early."""

    def __init__(self, parts: Parts, order: Order) -> None:
        self.order = order
        self.stop = threading.Event()
        self.came = False
        self._url: str | None = None
        self._parts = parts
        self._noted_at = 0.0

    def run(self) -> None:
        """Fetch until all is there, or it is not wanted any more.

        Raises RemoteAway, RemoteRefused, ServiceUnavailable (the database) or OSError (the disk).
        """
        parts = self._parts
        try:
            with parts.database.transaction() as connection:
                wanted = wanted_of(connection, self.order)
        except ConstellationError as error:
            if isinstance(error, ServiceUnavailable):
                raise
            self._note("whole", Progress(0, 0, came=False))  # the run itself says what is wrong
            return
        if wanted.nothing:
            self._note("whole", Progress(0, 0, came=False))
            return
        self._url = wanted.scene.uri
        found = open_mirror(parts.ranges, wanted.scene, parts.folder)
        try:
            self._fetch(found, wanted)
        finally:
            parts.reserved.pop(self.order.run_id, None)

    def named(self, message: str) -> str:
        """An error's message, with the URL that it is about."""
        known = self._url is None or self._url in message
        return message if known else f"{self._url}: {message}"

    def _fetch(self, found: Mirror, wanted: Wanted) -> None:
        blocks = wanted.blocks(found)
        need = Need(found, blocks, sizes_of(found, blocks))
        self._make_room(need)
        need.aim(self._parts.limits.first_bytes)
        self._tell(need)
        for group in need.groups():
            with self._parts.turns[found.folder]:
                fetcher = Fetcher(
                    self._parts.ranges,
                    found,
                    connections=self._parts.limits.connections,
                    stop=self.stop,
                )
                fetcher.fetch(group, lambda _: self._arrived(need))
            if self.stop.is_set():
                return
        self._note("whole", need.progress(came=self.came))

    def _make_room(self, need: "Need") -> None:
        parts = self._parts
        with parts.database.transaction() as connection:
            used = stagings.in_use(connection)
        keep = {mirror.folder_of(parts.folder, url, digest) for url, digest in used}
        with parts.room:
            others = sum(parts.reserved.values())
            make_room(
                parts.folder,
                need.missing_bytes,
                parts.limits.most_bytes,
                {*keep, need.mirror.folder},
                reserved_bytes=others,
            )
            parts.reserved[self.order.run_id] = need.missing_bytes
        need.mirror.used()

    def _arrived(self, need: "Need") -> None:
        self.came = True
        if need.is_ready or time.monotonic() - self._noted_at >= NOTE_S:
            self._tell(need)

    def _tell(self, need: "Need") -> None:
        """Say how far it is. A run that starved waits for as much again as it did at first."""
        ready = need.is_ready
        state = self._note("ready" if ready else "wanted", need.progress(came=self.came))
        if state is None:
            self.stop.set()
        elif ready:
            need.first = None
        elif state == "wanted" and need.first is None:
            need.aim(self._parts.limits.first_bytes)
        self._parts.reserved[self.order.run_id] = need.missing_bytes

    def _note(self, state: str, progress: Progress) -> str | None:
        self._noted_at = time.monotonic()
        with self._parts.database.transaction() as connection:
            found = stagings.note(
                connection, self.order.run_id, self._parts.worker_id, progress, state
            )
            if found is not None and state != "wanted":
                queue.wake(connection, queue.QUEUE_CHANNEL, self.order.run_id)
        return found


@dataclass
class Need:
    """Blocks that a run needs, in its order. `first` are those that have to be there before it may
    begin, None once it has been told that they are.
    """

    mirror: Mirror
    blocks: Numbers
    sizes: Numbers
    first: Numbers | None = None

    def aim(self, first_bytes: int) -> None:
        """Make the next missing blocks, up to so many bytes, those that have to be there."""
        there = self.mirror.staged()[self.blocks]
        missing, sizes = self.blocks[~there], self.sizes[~there]
        self.first = missing[: np.searchsorted(np.cumsum(sizes), first_bytes) + 1]

    @property
    def is_ready(self) -> bool:
        """Whether what has to be there before the run may begin has just come to be there."""
        return self.first is not None and bool(self.mirror.staged()[self.first].all())

    @property
    def missing_bytes(self) -> int:
        """Bytes still to come."""
        return int(self.sizes[~self.mirror.staged()[self.blocks]].sum())

    def progress(self, *, came: bool) -> Progress:
        """As the database keeps it."""
        wanted = int(self.sizes.sum())
        return Progress(wanted - self.missing_bytes, wanted, came)

    def groups(self) -> Iterator[Numbers]:
        """The blocks in groups of about GROUP_BYTES, after those that have to be there first."""
        if self.first is not None:
            yield self.first
        if len(self.blocks):
            at = np.cumsum(self.sizes) // GROUP_BYTES
            yield from np.split(self.blocks, np.flatnonzero(np.diff(at)) + 1)


def sizes_of(mirror: Mirror, blocks: Numbers) -> Numbers:
    """Encoded bytes of blocks, as far as the object has them."""
    starts = np.minimum(mirror.offsets[blocks], mirror.size)
    ends = np.minimum(starts + mirror.counts[blocks], mirror.size)
    return np.asarray(ends - starts, np.int64)
