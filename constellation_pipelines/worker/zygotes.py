"""The supervisor's side of its zygotes: the one that takes runs, and those that see theirs out.

A zygote holds code and definitions as they were when it started. When they have changed, a new one
is warmed up beside it and takes the next run; the old one stays until its last run has ended. A
zygote that dies is followed by another; its runs died with it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from constellation_pipelines.worker.orders import Channel, Message, RunOrder, encode, run_order

LOOK_S = 2.0  # how often to look for changed code and models
LONGEST_BACKOFF_S = 30.0
DIED_WITH_ZYGOTE = -9  # the kernel's signal to the children of a zygote that has ended


@dataclass(eq=False)
class Handle:
    """A zygote process: our end of its channel, how to end it, the stamp of what it has loaded."""

    channel: Channel
    stop: Callable[[], None]
    stamp: str
    runs: set[str] = field(default_factory=set)


class Zygotes:
    """Hands runs to the zygote of the newest code. Every method returns at once.

    `start` makes a zygote that holds what `stamp` names at that moment.
    """

    def __init__(self, start: Callable[[str], Handle], stamp: Callable[[], str]) -> None:
        self._start = start
        self._stamp = stamp
        self._current: Handle | None = None
        self._warming: Handle | None = None
        self._old: list[Handle] = []
        self._failed_stamp: str | None = None  # code that does not load is not tried again
        self._failures = 0
        self._start_at = 0.0
        self._look_at = 0.0

    @property
    def is_warm(self) -> bool:
        """Whether a run can be taken now."""
        return self._current is not None

    @property
    def channels(self) -> list[Channel]:
        """What to listen on."""
        return [handle.channel for handle in self._all()]

    def tick(self) -> None:
        """Warm up a zygote where one is due, end old ones that have no runs left."""
        now = time.monotonic()
        if self._warming is None and now >= self._start_at and self._is_due(now):
            self._warming = self._start(self._stamp())
        for handle in [old for old in self._old if not old.runs]:
            self._old.remove(handle)
            self._end(handle)

    def hear(self, readable: Iterable[object]) -> Iterator[Message]:
        """What the zygotes with something to say have said; of a dead one, that its runs ended."""
        for handle in [one for one in self._all() if one.channel in readable]:
            messages = handle.channel.receive()
            if not messages:
                yield from self._bury(handle)
            for message in messages:
                if "ready" in message:
                    self._promote(handle)
                handle.runs.discard(message.get("exited", ""))
                yield message

    def run(self, order: RunOrder) -> None:
        """Hand over a run. One that cannot be handed over any more is told of as ended."""
        assert self._current is not None
        self._current.runs.add(order.run_id)
        self._send(self._current, run_order(order))

    def interrupt(self, run_id: str) -> None:
        """Have a run's process interrupted."""
        self._tell(run_id, encode({"interrupt": run_id}))

    def kill(self, run_id: str) -> None:
        """Have a run's process killed, and what it started."""
        self._tell(run_id, encode({"kill": run_id}))

    def stop(self) -> None:
        """End every zygote, and with it its runs."""
        for handle in list(self._all()):
            self._end(handle)
        self._current, self._warming, self._old = None, None, []

    def _all(self) -> Iterator[Handle]:
        yield from filter(None, (self._current, self._warming))
        yield from self._old

    def _is_due(self, now: float) -> bool:
        if self._current is None:
            return True
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        return self._stamp() not in (self._current.stamp, self._failed_stamp)

    def _promote(self, handle: Handle) -> None:
        if self._current is not None:
            print("code or models have changed: a new zygote takes the next run", flush=True)
            self._old.append(self._current)
        self._current, self._warming, self._failures = handle, None, 0
        print("a zygote is warm", flush=True)

    def _bury(self, handle: Handle) -> Iterator[Message]:
        """Forget a zygote that has ended. While another serves, its code is not tried again."""
        self._end(handle)
        if handle is self._warming:
            self._warming = None
            self._failed_stamp = handle.stamp
            print("a zygote ended before it was warm; see the lines above", flush=True)
        elif handle is self._current:
            self._current = None
            print("the zygote ended; its runs go on in new processes", flush=True)
        else:
            self._old.remove(handle)
        self._failures += 1
        self._start_at = time.monotonic() + min(0.1 * 2**self._failures, LONGEST_BACKOFF_S)
        for run_id in handle.runs:
            yield {"exited": run_id, "code": DIED_WITH_ZYGOTE}

    def _tell(self, run_id: str, line: bytes) -> None:
        for handle in self._all():
            if run_id in handle.runs:
                self._send(handle, line)

    def _send(self, handle: Handle, line: bytes) -> None:
        try:
            handle.channel.send(line)
        except OSError:
            pass  # it has ended; its closed channel will say so in the next turn

    def _end(self, handle: Handle) -> None:
        handle.channel.connection.close()
        handle.stop()
