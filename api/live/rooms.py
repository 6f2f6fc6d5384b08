"""Readers who want the same, and get the same frames: made once for all of them.

A frame is a JSON array of envelopes. The first message of a burst goes out at once; what follows
within FRAME_S goes together in the next frame, so that a burst costs each reader a write per frame
and not per message. Where there are so many readers that a frame takes longer than that to send,
the next one waits for as long again: whatever comes, half of the time is left for everything else.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from uuid import UUID

from api.live.interest import Message, Wishes
from constellation_pipelines.store.tenancy import EVERYONE, Tenancy

FRAME_S = 0.02
LONGEST_REST_S = 0.25
MOST_FRAME = 256 * 1024  # characters; many clients take no more than a megabyte
MOST_WAITING_BYTES = 8 * 2**20  # a reader that is further behind is too slow
KEPT_APART_S = 30.0

# Writes a frame to a socket at once, or says that there is no room for it now.
Wire = Callable[[bytes], bool]


class Frame:
    """A text for one or many readers."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __len__(self) -> int:
        return len(self.text)

    @cached_property
    def on_the_wire(self) -> bytes:
        """As a WebSocket carries it, unmasked and whole (RFC 6455, 5.2): made once for all."""
        data = self.text.encode()
        length = len(data)
        if length < 126:
            head = bytes((0x81, length))
        elif length < 2**16:
            head = b"\x81\x7e" + length.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + length.to_bytes(8, "big")
        return head + data


class Listener:
    """One reader: what it wants, and the frames that it has not taken yet.

    Frames are taken by `next`. While somebody waits in it and nothing else does, they go straight
    to the `wire`, where there is one, without waking whoever waits.
    """

    def __init__(
        self,
        tenancy: Tenancy = EVERYONE,
        *,
        wire: Wire | None = None,
        most_bytes: int = MOST_WAITING_BYTES,
    ) -> None:
        """`tenancy` is what it may see."""
        self.tenancy = tenancy
        self.wishes = Wishes(account=None if tenancy.sees_all else tenancy.account)
        self.too_slow = asyncio.Event()
        self.replayed: set[int] = set()  # ids that are still to come a second time
        self.put_at_s = 0.0  # when it was last sent something, by the monotonic clock
        self._wire = wire
        self._waits = False
        self._most_bytes = most_bytes
        self._closed = False
        self._broken = False
        self._waiting_bytes = 0
        self._frames: deque[Frame] = deque()
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, frame: Frame) -> None:
        """Have a frame sent. A reader that has too much waiting is marked, and gets no more."""
        self.put_at_s = time.monotonic()
        if self._waits and not self._frames and self._wire and self._wire(frame.on_the_wire):
            return
        if self.too_slow.is_set():
            return
        if self._frames and self._waiting_bytes + len(frame) > self._most_bytes:
            self.too_slow.set()
            self._some.set()
            return
        self._frames.append(frame)
        self._waiting_bytes += len(frame)
        self._some.set()
        if self._waiting_bytes > self._most_bytes // 4:
            self._room.clear()

    async def send(self, messages: Iterable[Message]) -> None:
        """Have these sent, once there is room: a replay goes at the reader's pace."""
        for frame in frames_of(message.text for message in messages):
            await self._room.wait()
            self.put(frame)

    @property
    def broken(self) -> bool:
        """Whether frames are missing at the end."""
        return self._broken or self.too_slow.is_set()

    def close(self, *, broken: bool = False) -> None:
        """There will be no more frames; `broken` where there should be."""
        self._closed = True
        self._broken = broken
        self._some.set()

    async def next(self) -> Frame | None:
        """The next frame, once there is one; None when there will be no more."""
        while not self._frames:
            if self._closed or self.too_slow.is_set():
                return None
            self._some.clear()
            self._waits = True
            try:
                await self._some.wait()
            finally:
                self._waits = False
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame)
        if self._waiting_bytes <= self._most_bytes // 4:
            self._room.set()
        return frame


class Room:
    """Listeners of the same wishes."""

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self._listeners: set[Listener] = set()
        self._waiting: list[str] = []
        self._newcomers: dict[Listener, int] = {}  # how much of what waits each has had already

    @property
    def jobs(self) -> set[UUID | None]:
        """Of which jobs it wants to hear; None among them where it is all."""
        return {interest.job_id for interest in self.wishes.interests}

    @property
    def is_empty(self) -> bool:
        """Whether nobody is there."""
        return not self._listeners and not self._newcomers

    def offer(self, message: Message) -> bool:
        """Keep a message for all in the room, if they want it."""
        if not self.wishes.wants(message):
            return False
        self._waiting.append(message.text)
        return True

    def add(self, listener: Listener) -> None:
        """Let a listener in who has had all that waits."""
        if self._waiting:
            self._newcomers[listener] = len(self._waiting)
        else:
            self._listeners.add(listener)

    def discard(self, listener: Listener) -> list[str]:
        """Let a listener go; what was still to be sent to it."""
        if listener in self._newcomers:
            return self._waiting[self._newcomers.pop(listener) :]
        if listener in self._listeners:
            self._listeners.discard(listener)
            return self._waiting
        return []

    def flush(self) -> None:
        """Send what has come together."""
        waiting, self._waiting = self._waiting, []
        for frame in frames_of(waiting):
            for listener in self._listeners:
                listener.put(frame)
        for listener, had in self._newcomers.items():
            for frame in frames_of(waiting[had:]):
                listener.put(frame)
            self._listeners.add(listener)
        self._newcomers.clear()


class Rooms:
    """All rooms, by wishes. Listeners to whom something may come twice are kept apart a while."""

    def __init__(self) -> None:
        self._rooms: dict[Wishes, Room] = {}
        self._of_job: dict[UUID | None, set[Room]] = {}
        self._full: set[Room] = set()  # with something to send
        self._apart: dict[Listener, float] = {}
        self._next_s = 0.0
        self._handle: asyncio.Handle | None = None

    def offer(self, message: Message) -> None:
        """Give a message to everybody who wants it."""
        for job in {None, message.job_id}:
            for room in self._of_job.get(job, ()):
                # A room that hears of all jobs and of this one is asked once.
                if (job is None or None not in room.jobs) and room.offer(message):
                    self._full.add(room)
        if self._full and self._handle is None:
            self._plan()
        for listener in list(self._apart):
            self._offer_apart(listener, message)

    def enter(self, listener: Listener, wishes: Wishes) -> None:
        """Move a listener to the room of these wishes: it has had all that came before."""
        for frame in frames_of(self._take_out(listener)):
            listener.put(frame)
        listener.wishes = wishes
        if listener.replayed:
            self._apart[listener] = asyncio.get_running_loop().time()
            return
        room = self._rooms.get(wishes)
        if room is None:
            room = self._rooms[wishes] = Room(wishes)
            for job in room.jobs:
                self._of_job.setdefault(job, set()).add(room)
        room.add(listener)

    def leave(self, listener: Listener) -> None:
        """Take out a listener that has gone."""
        self._take_out(listener)

    def _take_out(self, listener: Listener) -> list[str]:
        self._apart.pop(listener, None)
        room = self._rooms.get(listener.wishes)
        if room is None:
            return []
        left = list(room.discard(listener))
        if room.is_empty:
            del self._rooms[room.wishes]
            self._full.discard(room)
            for job in room.jobs:
                self._of_job[job].discard(room)
                if not self._of_job[job]:
                    del self._of_job[job]
        return left

    def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._next_s - time.monotonic()
        self._handle = (
            loop.call_later(wait_s, self._flush) if wait_s > 0 else loop.call_soon(self._flush)
        )

    def _flush(self) -> None:
        began_s = time.monotonic()
        full, self._full = self._full, set()
        for room in full:
            room.flush()
        # uvloop writes to the sockets when this turn of the loop is over: then it is known how long
        # all of it took.
        self._handle = asyncio.get_running_loop().call_soon(self._rest, began_s)

    def _rest(self, began_s: float) -> None:
        now = time.monotonic()
        rest_s = min(now - began_s, LONGEST_REST_S)
        self._next_s = max(began_s + FRAME_S, now + rest_s)
        self._handle = None
        if self._full:
            self._plan()

    def _offer_apart(self, listener: Listener, message: Message) -> None:
        """To one that gets messages by itself, until none of its replayed ones is to come again."""
        if listener.wishes.wants(message):
            if message.id in listener.replayed:
                listener.replayed.discard(message.id)
            else:
                listener.put(Frame(f"[{message.text}]"))
        waited_s = asyncio.get_running_loop().time() - self._apart[listener]
        if not listener.replayed or waited_s > KEPT_APART_S:
            listener.replayed.clear()
            wishes = listener.wishes
            self.enter(listener, wishes)


def frames_of(texts: Iterable[str]) -> Iterator[Frame]:
    """Envelopes in as few frames as hold them."""
    together: list[str] = []
    length = 0
    for text in texts:
        if together and length + len(text) > MOST_FRAME:
            yield Frame(f"[{','.join(together)}]")
            together, length = [], 0
        together.append(text)
        length += len(text)
    if together:
        yield Frame(f"[{','.join(together)}]")
