"""What the hub and its listeners remember."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame as Parsed
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from api.live.interest import Interest, Message, Topic, Wishes
from api.live.memory import Recent, Watermarks
from api.live.rooms import MOST_FRAME, Frame, Listener, Rooms
from constellation_pipelines.domain.event import Event

ONE, TWO = uuid4(), uuid4()


def event(id: int, job: UUID | None = ONE) -> Event:
    return Event(id, "job.noted", datetime.now(UTC), job, None, "", {})


def message(id: int, job: UUID | None = ONE, account: str = "a") -> Message:
    return Message(Topic.JOBS, id, job, account, str(id))


def ids(messages: list[Message] | None) -> list[int] | None:
    return None if messages is None else [message.id or 0 for message in messages]


def test_an_event_is_new_once_and_older_ones_of_its_job_never_are() -> None:
    seen = Watermarks()
    assert seen.is_new(event(5))
    assert not seen.is_new(event(5))
    assert not seen.is_new(event(4))
    assert seen.is_new(event(4, TWO))  # ids of other jobs may come late
    assert seen.is_new(event(6))


def test_recent_messages_are_found_by_the_order_in_which_they_came() -> None:
    recent = Recent(most=4)
    for id in (3, 7, 5, 6):
        recent.add(message(id))
    position = recent.position_after(7)
    assert position is not None
    assert ids(recent.since(position)) == [5, 6]
    assert ids(recent.since(recent.end)) == []
    assert recent.position_after(4) is None


def test_what_is_forgotten_is_said_to_be() -> None:
    recent = Recent(most=2)
    recent.add(message(1))
    position = recent.position_after(1)
    assert position is not None
    for id in (2, 3):
        recent.add(message(id))
    assert recent.position_after(1) is None
    assert ids(recent.since(position)) == [2, 3]
    recent.add(message(4))
    assert recent.since(position) is None


JOBS = frozenset((Topic.JOBS,))


def wishes(job: UUID | None = None, account: str | None = None) -> Wishes:
    return Wishes(frozenset((Interest(JOBS, job),)), account)


async def drained(listener: Listener) -> list[int]:
    """All ids in the frames that wait for a listener."""
    listener.close()
    found: list[int] = []
    while (frame := await listener.next()) is not None:
        found += json.loads(frame.text)
    return found


def test_a_reader_gets_what_it_wants_and_may_have() -> None:
    async def work() -> None:
        rooms, listeners = Rooms(), [Listener() for _ in range(3)]
        for listener, wanted in zip(
            listeners, (wishes(), wishes(ONE), wishes(account="b")), strict=True
        ):
            rooms.enter(listener, wanted)
        for one in (message(1), message(2, TWO), message(3, TWO, "b")):
            rooms.offer(one)
        await asyncio.sleep(0.1)
        assert [await drained(one) for one in listeners] == [[1, 2, 3], [1], [3]]

    asyncio.run(work())


def test_a_burst_costs_each_reader_few_frames_and_the_first_message_does_not_wait() -> None:
    async def work() -> None:
        rooms, listener = Rooms(), Listener()
        rooms.enter(listener, wishes())
        rooms.offer(message(0))
        first = await asyncio.wait_for(listener.next(), 5)
        assert first is not None
        assert first.text == "[0]"
        for id in range(1, 1000):
            rooms.offer(message(id))
        second = await asyncio.wait_for(listener.next(), 5)
        assert second is not None
        assert json.loads(second.text) == list(range(1, 1000))

    asyncio.run(work())


def test_who_enters_late_gets_nothing_from_before() -> None:
    async def work() -> None:
        rooms, early, late = Rooms(), Listener(), Listener()
        rooms.enter(early, wishes())
        rooms.offer(message(1))
        rooms.enter(late, wishes())
        rooms.offer(message(2))
        await asyncio.sleep(0.1)
        assert await drained(late) == [2]
        assert await drained(early) == [1, 2]

    asyncio.run(work())


def test_who_leaves_keeps_what_was_meant_for_it() -> None:
    async def work() -> None:
        rooms, listener = Rooms(), Listener()
        rooms.enter(listener, wishes())
        rooms.offer(message(1))
        rooms.enter(listener, wishes(TWO))
        rooms.offer(message(2))
        rooms.offer(message(3, TWO))
        await asyncio.sleep(0.1)
        assert await drained(listener) == [1, 3]

    asyncio.run(work())


def test_what_was_replayed_does_not_come_again() -> None:
    async def work() -> None:
        rooms, listener = Rooms(), Listener()
        listener.replayed = {2, 3}
        rooms.enter(listener, wishes())
        for id in (1, 2, 3, 4):
            rooms.offer(message(id))
        await asyncio.sleep(0.1)
        assert await drained(listener) == [1, 4]

    asyncio.run(work())


def test_a_reader_that_takes_nothing_is_bounded() -> None:
    async def work() -> None:
        listener = Listener(most_bytes=1000)
        for id in range(100, 300):
            listener.put(Frame(f"[{id}]"))
        assert not listener.too_slow.is_set()
        for id in range(300, 1000):
            listener.put(Frame(f"[{id}]"))
        assert listener.too_slow.is_set()
        assert await drained(listener) == list(range(100, 300))

    asyncio.run(work())


def test_who_enters_while_something_waits_gets_all_that_comes_after_once_and_in_order() -> None:
    async def work() -> None:
        rooms, listeners = Rooms(), [Listener() for _ in range(50)]
        for id, listener in enumerate(listeners):
            rooms.offer(message(id))
            rooms.enter(listener, wishes())
            if id % 7 == 0:
                await asyncio.sleep(0.03)
        rooms.offer(message(50))
        await asyncio.sleep(0.2)
        for id, listener in enumerate(listeners):
            assert await drained(listener) == list(range(id + 1, 51))

    asyncio.run(work())


def test_who_hears_of_all_jobs_and_of_one_gets_each_message_once() -> None:
    async def work() -> None:
        rooms, listener = Rooms(), Listener()
        both = Wishes(frozenset((Interest(JOBS, None), Interest(JOBS, ONE))))
        rooms.enter(listener, both)
        rooms.offer(message(1, ONE))
        rooms.offer(message(2, TWO))
        await asyncio.sleep(0.1)
        assert await drained(listener) == [1, 2]

    asyncio.run(work())


def test_who_has_gone_is_sent_nothing_and_its_room_is_forgotten() -> None:
    async def work() -> None:
        rooms, gone, other = Rooms(), Listener(), Listener()
        for listener in (gone, other):
            rooms.enter(listener, wishes(ONE))
        rooms.offer(message(1, ONE))
        for listener in (gone, other):
            rooms.leave(listener)
        rooms.offer(message(2, ONE))
        await asyncio.sleep(0.1)
        assert await drained(gone) == await drained(other) == []

    asyncio.run(work())


class Socket:
    """A wire that has room or not, as it is told."""

    def __init__(self) -> None:
        self.has_room = True
        self.sent: list[str] = []

    def write(self, frame: bytes) -> bool:
        if self.has_room:
            self.sent.append(unmasked(frame))
        return self.has_room


def unmasked(frame: bytes) -> str:
    """The text of a frame, as a client of WebSockets reads it."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    client.receive_data(frame)
    (event,) = client.events_received()
    assert isinstance(event, Parsed)
    assert event.opcode is Opcode.TEXT
    assert event.fin
    return bytes(event.data).decode()


@pytest.mark.parametrize("length", [0, 1, 125, 126, 2**16 - 1, 2**16, MOST_FRAME])
def test_a_frame_is_one_of_websockets(length: int) -> None:
    text = "x" * length
    assert unmasked(Frame(text).on_the_wire) == text
    assert unmasked(Frame(text + "\u00e9\U0001f6f0").on_the_wire) == text + "\u00e9\U0001f6f0"


def test_frames_go_to_the_wire_while_somebody_waits_and_else_stay_in_order() -> None:
    """Whoever waits sends by another way what the wire had no room for: nothing may overtake it."""

    async def work() -> None:
        socket = Socket()
        listener = Listener(wire=socket.write)

        def put(text: str) -> None:
            listener.put(Frame(text))

        put("1")
        assert socket.sent == []  # nobody waits yet, so nobody knows what comes first
        first = await listener.next()
        assert first is not None
        put("2")
        assert socket.sent == []  # the first is still on its way
        second = await listener.next()
        assert second is not None
        waiting = asyncio.create_task(listener.next())
        await asyncio.sleep(0)
        put("3")
        assert socket.sent == ["3"]
        assert not waiting.done()
        socket.has_room = False
        put("4")
        socket.has_room = True
        put("5")
        fourth, fifth = await waiting, await listener.next()
        assert fourth is not None
        assert fifth is not None
        assert [one.text for one in (first, second, fourth, fifth)] == ["1", "2", "4", "5"]
        assert socket.sent == ["3"]

    asyncio.run(work())
