"""Readers who want the same, and get the same frames: made once for all of them.

A frame is a JSON array of envelopes. The first message of a burst goes out at once; what follows
within FRAME_S goes together in the next frame, so that a burst costs each reader a write per frame
and not per message.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from api.live.interest import Message, Wishes
from constellation_pipelines.store.tenancy import EVERYONE, Tenancy

FRAME_S = 0.04
MOST_FRAME = 256 * 1024  # characters; many clients take no more than a megabyte
MOST_WAITING_BYTES = 8 * 2**20  # a reader that is further behind is too slow
KEPT_APART_S = 30.0


class Listener:
    """One reader: what it wants, and the frames that it has not taken yet."""

    def __init__(
        self, tenancy: Tenancy = EVERYONE, *, most_bytes: int = MOST_WAITING_BYTES
    ) -> None:
        """`tenancy` is what it may see."""
        self.tenancy = tenancy
        self.wishes = Wishes(account=None if tenancy.sees_all else tenancy.account)
        self.too_slow = asyncio.Event()
        self.replayed: set[int] = set()  # ids that are still to come a second time
        self._most_bytes = most_bytes
        self._closed = False
        self._broken = False
        self._waiting_bytes = 0
        self._frames: deque[str] = deque()
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, frame: str) -> None:
        """Have a frame sent. A reader that has too much waiting is marked, and gets no more."""
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

    async def next(self) -> str | None:
        """The next frame, once there is one; None when there will be no more."""
        while not self._frames:
            if self._closed or self.too_slow.is_set():
                return None
            self._some.clear()
            await self._some.wait()
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame)
        if self._waiting_bytes <= self._most_bytes // 4:
            self._room.set()
        return frame


class Room:
    """Listeners of the same wishes."""

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self.listeners: set[Listener] = set()
        self._waiting: list[str] = []
        self._flushed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, message: Message) -> None:
        """Give a message to all in the room, if they want it."""
        if not self.wishes.wants(message):
            return
        self._waiting.append(message.text)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            due = max(loop.time(), self._flushed_at + FRAME_S)
            self._timer = loop.call_at(due, self.flush)

    def flush(self) -> None:
        """Send what has come together."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        frames = list(frames_of(self._waiting))
        self._waiting = []
        self._flushed_at = asyncio.get_running_loop().time()
        for listener in self.listeners:
            for frame in frames:
                listener.put(frame)


class Rooms:
    """All rooms, by wishes. Listeners to whom something may come twice are kept apart a while."""

    def __init__(self) -> None:
        self._rooms: dict[Wishes, Room] = {}
        self._apart: dict[Listener, float] = {}

    def offer(self, message: Message) -> None:
        """Give a message to everybody who wants it."""
        for room in self._rooms.values():
            room.offer(message)
        for listener in list(self._apart):
            self._offer_apart(listener, message)

    def enter(self, listener: Listener, wishes: Wishes) -> None:
        """Move a listener to the room of these wishes: it has had all that came before."""
        self.leave(listener)
        listener.wishes = wishes
        if listener.replayed:
            self._apart[listener] = asyncio.get_running_loop().time()
            return
        room = self._rooms.setdefault(wishes, Room(wishes))
        room.flush()  # what the others still wait for, it has had
        room.listeners.add(listener)

    def leave(self, listener: Listener) -> None:
        """Take a listener out of its room, with all that was meant for it."""
        self._apart.pop(listener, None)
        room = self._rooms.get(listener.wishes)
        if room is not None and listener in room.listeners:
            room.flush()
            room.listeners.discard(listener)
            if not room.listeners:
                del self._rooms[room.wishes]

    def _offer_apart(self, listener: Listener, message: Message) -> None:
        """To one that gets messages by itself, until none of its replayed ones is to come again."""
        if listener.wishes.wants(message):
            if message.id in listener.replayed:
                listener.replayed.discard(message.id)
            else:
                listener.put(f"[{message.text}]")
        waited_s = asyncio.get_running_loop().time() - self._apart[listener]
        if not listener.replayed or waited_s > KEPT_APART_S:
            listener.replayed.clear()
            wishes = listener.wishes
            self.enter(listener, wishes)


def frames_of(texts: Iterable[str]) -> Iterator[str]:
    """Envelopes in as few frames as hold them."""
    together: list[str] = []
    length = 0
    for text in texts:
        if together and length + len(text) > MOST_FRAME:
            yield f"[{','.join(together)}]"
            together, length = [], 0
        together.append(text)
        length += len(text)
    if together:
        yield f"[{','.join(together)}]"
