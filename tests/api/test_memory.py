"""What the hub and its listeners remember."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

from api.memory import Listener, Message, Recent, Watermarks
from constellation_pipelines.domain.event import Event

ONE, TWO = uuid4(), uuid4()


def message(id: int, job: UUID | None = ONE) -> Message:
    return Message(Event(id, "job.noted", datetime.now(UTC), job, None, "", {}), str(id))


def ids(messages: list[Message] | None) -> list[int] | None:
    return None if messages is None else [message.event.id for message in messages]


def test_an_event_is_new_once_and_older_ones_of_its_job_never_are() -> None:
    seen = Watermarks()
    assert seen.is_new(message(5).event)
    assert not seen.is_new(message(5).event)
    assert not seen.is_new(message(4).event)
    assert seen.is_new(message(4, TWO).event)  # ids of other jobs may come late
    assert seen.is_new(message(6).event)


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


def test_a_listener_takes_what_it_wants_and_nothing_it_got_in_a_replay() -> None:
    async def work() -> None:
        listener = Listener(ONE)
        replayed = listener.unsent([message(1), message(2, TWO), message(3), message(3)])
        assert ids(list(replayed)) == [1, 3]
        for late in (message(3), message(4, TWO), message(5)):
            listener.offer(late)
        assert await listener.next() == "5"

    asyncio.run(work())


def test_a_listener_that_takes_nothing_is_bounded() -> None:
    async def work() -> None:
        listener = Listener(queue_max=10)
        for id in range(10):
            listener.offer(message(id))
        assert not listener.too_slow.is_set()
        for id in range(10, 1000):
            listener.offer(message(id))
        assert listener.too_slow.is_set()
        assert [await listener.next() for _ in range(10)] == [str(id) for id in range(10)]

    asyncio.run(work())
