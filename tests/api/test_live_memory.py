"""What the hub and its listeners remember."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

from api.live.interest import Interest, Message, Topic, Wishes
from api.live.memory import Recent, Watermarks
from api.live.rooms import Listener, Rooms
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
        found += json.loads(frame)
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
        assert first == "[0]"
        for id in range(1, 1000):
            rooms.offer(message(id))
        second = await asyncio.wait_for(listener.next(), 5)
        assert second is not None
        assert json.loads(second) == list(range(1, 1000))

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
            listener.put(f"[{id}]")
        assert not listener.too_slow.is_set()
        for id in range(300, 1000):
            listener.put(f"[{id}]")
        assert listener.too_slow.is_set()
        assert await drained(listener) == list(range(100, 300))

    asyncio.run(work())
