"""The worker's heart: claims runs for this host's devices and watches over their processes."""

import select
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol
from uuid import UUID

import psycopg

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.store import leases, queue, run_ends, workers
from constellation_pipelines.store.database import Connection, Database
from constellation_pipelines.worker import device_faults
from constellation_pipelines.worker.energy import EnergyMeter
from constellation_pipelines.worker.engines import Change, Engines
from constellation_pipelines.worker.orders import Message, RunOrder
from constellation_pipelines.worker.zygotes import Zygotes

HEARTBEAT_S = 2.0
PATIENCE_S = 1.2  # an interrupted run that has not ended by then is killed
POLL_S = 0.5  # for a lost notification, and for engines becoming ready
RECONNECT_S = 1.0

CHANNELS = (queue.QUEUE_CHANNEL, queue.INTERRUPT_CHANNEL)


class RunWatcher(Protocol):
    """Hears of runs. No method waits."""

    def follow(self, run_id: UUID) -> None:
        """A process of this run begins here."""

    def ended(self, run_id: UUID) -> None:
        """It has ended."""

    def energy_j(self, device_uuid: str) -> float | None:
        """What a device's counter of energy last stood at; None where it does not tell."""


class Supervisor:
    """Holds no truth of its own: what it forgets, the database still knows."""

    def __init__(
        self,
        database: Database,
        worker_id: UUID,
        engines: Engines,
        zygotes: Zygotes,
        told: RunWatcher | None = None,
    ) -> None:
        """`told` hears which runs begin and end here."""
        self._database = database
        self._worker_id = worker_id
        self._engines = engines
        self._zygotes = zygotes
        self._told = told
        self._energy = EnergyMeter()
        self._claims: dict[UUID, queue.Claim] = {}
        self._inbox: deque[Message] = deque()
        self._changes: deque[Change] = deque()
        self._moved: set[UUID] = set()  # killed because their device failed
        self._interrupted: dict[UUID, float] = {}  # run -> when, on our clock
        self._next_beat = 0.0

    def serve(self, stop: threading.Event) -> None:
        """Work until told to stop. A database that is away is waited for; runs go on meanwhile."""
        while not stop.is_set():
            try:
                with self._database.listen(*CHANNELS) as listener:
                    while not stop.is_set():
                        self._turn(listener)
            except (ServiceUnavailable, psycopg.OperationalError) as error:
                print(f"waiting for the database: {error}", flush=True)
                self._changes.extend(self._engines.tick())  # engines die and hang meanwhile too
                stop.wait(RECONNECT_S)

    def hand_back(self) -> None:
        """Queue the runs again that this worker held. Their processes must have ended."""
        with self._database.transaction() as connection:
            for claim in self._claims.values():
                give_back(connection, claim.lease)
        self._claims.clear()

    def _turn(self, listener: Connection) -> None:
        self._zygotes.tick()
        ends: list[Any] = [listener, *self._zygotes.channels]
        readable, _, _ = select.select(ends, [], [], self._pause_s())
        self._inbox.extend(self._zygotes.hear(readable))
        while self._inbox:  # a message is dropped only once it has been handled
            self._hear(self._inbox[0])
            self._inbox.popleft()
        for note in self._database.notifications(listener):
            if note.channel == queue.INTERRUPT_CHANNEL:
                self._interrupt(UUID(note.payload))
        self._claim()
        self._insist()
        self._tend_engines()
        self._beat()

    def _pause_s(self) -> float:
        """How long to wait for news: no longer than the next interrupted run has left."""
        deadlines = [at + PATIENCE_S - time.monotonic() for at in self._interrupted.values()]
        return max(0.05, min([POLL_S, *deadlines]))

    def _hear(self, message: Message) -> None:
        if "started" in message:
            claim = self._claims.get(UUID(message["started"]))
            if claim is not None:
                with self._database.transaction() as connection:
                    queue.started(connection, claim.lease, message["pid"])
        elif "exited" in message:
            self._ended(UUID(message["exited"]), message["code"])

    def _claim(self) -> None:
        while self._zygotes.is_warm:
            with self._database.transaction() as connection:
                claim = queue.claim(connection, self._worker_id)
            if claim is None:
                return
            self._read_energy()  # of those who were there before
            self._claims[claim.lease.run_id] = claim
            self._zygotes.run(self._order_of(claim))
            if self._told is not None:
                self._told.follow(claim.lease.run_id)

    def _order_of(self, claim: queue.Claim) -> RunOrder:
        sockets = self._engines.sockets
        return RunOrder(
            run_id=str(claim.lease.run_id),
            instance_ref=claim.instance_ref,
            fence=claim.lease.fence,
            attempt=claim.attempt,
            sockets={uuid: sockets[uuid] for uuid in claim.devices},
            resumed_after=self._reason_of(claim) if claim.resume else None,
        )

    def _reason_of(self, claim: queue.Claim) -> str:
        """Why a run goes on in a new process, for the operator."""
        with self._database.transaction() as connection:
            found = run_ends.why_resumed(connection, claim.lease)
        return found or "The worker before gave it back."

    def _ended(self, run_id: UUID, code: int) -> None:
        """A run process is gone: done, or dead before it could say how it ended.

        The dispatcher tells Dagster of a run that has died too often, or did not stop by itself.
        """
        claim = self._claims.get(run_id)
        if claim is None:
            return
        self._read_energy()
        taken = self._energy.take(claim.lease.fence)
        with self._database.transaction() as connection:
            leases.note_energy(connection, claim.lease, taken)
            moved = run_id in self._moved
            attempt = run_ends.settle(connection, claim.lease, code, moved=moved)
        self._claims.pop(run_id, None)
        if self._told is not None:
            self._told.ended(run_id)
        self._interrupted.pop(run_id, None)
        self._moved.discard(run_id)
        if attempt is not None:
            print(f"run {run_id} died with {code}; attempt {attempt} follows", flush=True)

    def _interrupt(self, run_id: UUID) -> None:
        if run_id in self._claims and run_id not in self._interrupted:
            self._interrupted[run_id] = time.monotonic()
            self._zygotes.interrupt(str(run_id))

    def _read_energy(self) -> None:
        """Share out what devices took since the last reading among the runs that were on them."""
        if self._told is None:
            return
        for uuid in self._engines.sockets:
            held = [one.lease.fence for one in self._claims.values() if uuid in one.devices]
            self._energy.read(uuid, self._told.energy_j(uuid), held)

    def _tend_engines(self) -> None:
        self._changes.extend(self._engines.tick())
        while self._changes:  # a change is dropped only once it has been handled
            self._device_changed(self._changes[0])
            self._changes.popleft()

    def _device_changed(self, change: Change) -> None:
        """Keep it, and end the runs that have to move: killed, they go on elsewhere."""
        print(f"device {change.uuid}: {change.kind} {change.message}".rstrip(), flush=True)
        runs = [run_id for run_id, claim in self._claims.items() if change.uuid in claim.devices]
        for run_id in device_faults.note(self._database, self._worker_id, change, runs):
            if device_faults.moves_free(self._database, run_id):
                self._moved.add(run_id)
            self._zygotes.kill(str(run_id))

    def _beat(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        self._read_energy()
        with self._database.transaction() as connection:
            workers.beat(connection, self._worker_id)
            held = queue.beat(connection, self._worker_id)
        self._next_beat = time.monotonic() + HEARTBEAT_S
        for run in held:
            if run.cancel_requested:
                self._interrupt(run.lease.run_id)
        self._give_up({run.lease.fence for run in held})
        self._give_back([run.lease for run in held])

    def _give_up(self, fences: set[int]) -> None:
        """End runs whose lease has passed to someone else while the database was away.

        Killed, not interrupted: an interrupted run would report a failure of a run that goes on.
        """
        for run_id, claim in self._claims.items():
            if claim.lease.fence not in fences:
                self._zygotes.kill(str(run_id))

    def _give_back(self, held: Iterable[queue.Lease]) -> None:
        """Queue runs again whose claim was committed just as the connection was lost."""
        known = {claim.lease.fence for claim in self._claims.values()}
        for lease in held:
            if lease.fence not in known:
                with self._database.transaction() as connection:
                    give_back(connection, lease)

    def _insist(self) -> None:
        """Kill what was interrupted and does not end, again and again until it is gone."""
        now = time.monotonic()
        for run_id, interrupted_at in self._interrupted.items():
            if now - interrupted_at > PATIENCE_S:
                self._interrupted[run_id] = now
                self._zygotes.kill(str(run_id))


def give_back(connection: Connection, lease: queue.Lease) -> None:
    """Queue a run again that did not fail; it keeps its count of attempts."""
    if queue.requeue(connection, lease, resume=True, spend_attempt=False) is None:
        queue.finish(connection, lease, None)
