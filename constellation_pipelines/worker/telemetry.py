"""What a worker tells the world as it happens: log lines of its runs, samples of its devices.

Both go to NATS and hold no state: where NATS is away, lines wait in their files and samples are
lost. All of it happens in a thread with an event loop of its own, so that nothing waits for it.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.events import streams, subjects
from constellation_pipelines.events.bus import Bus, Stored
from constellation_pipelines.store import queue
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.run_tail import Line, RunTail

TAIL_S = 0.04  # between two looks at the files of a run that goes on
SAMPLE_S = 1.0
LAST_LINES_S = 5.0  # how long a worker that stops waits for the last lines to be told

log = logging.getLogger(__name__)


class Telemetry:
    """A thread that tells. `follow` and `ended` return at once."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        logs: Path,
        devices: Sequence[Device],
        sample: Callable[[str], Sample],
        host: str,
    ) -> None:
        """`logs` is the folder with a folder per run; `sample` reads a device by its uuid."""
        self._bus = bus
        self._database = database
        self._logs = logs
        self._devices = devices
        self._sample = sample
        self._host = host
        self._tails: dict[UUID, RunTail] = {}
        self._over: set[UUID] = set()
        self._wanted: set[UUID] = set()  # runs whose files have not been looked for yet
        self._energy_j: dict[str, float | None] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier worker left untold."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the last lines, and end."""
        self._stopping.set()
        self._thread.join(2 * LAST_LINES_S)

    def follow(self, run_id: UUID) -> None:
        """Tell this run's lines from now on."""
        with self._lock:
            self._over.discard(run_id)
            if run_id not in self._tails:
                self._wanted.add(run_id)

    def energy_j(self, device_uuid: str) -> float | None:
        """What a device's counter of energy last stood at; None where it does not tell."""
        return self._energy_j.get(device_uuid)

    def ended(self, run_id: UUID) -> None:
        """This run says nothing more here."""
        with self._lock:
            self._over.add(run_id)

    def _open_wanted(self) -> None:
        with self._lock:
            wanted = set(self._wanted)
        for run_id in wanted:
            tail = self._open(run_id)
            if tail is not None:
                with self._lock:
                    self._tails[run_id] = tail
                    self._wanted.discard(run_id)

    def _open(self, run_id: UUID) -> RunTail | None:
        folder = self._logs / str(run_id)
        tail = RunTail.load(folder)
        if tail is None:
            owner = owner_of(self._database, run_id)
            if owner is None:
                return None
            tail = RunTail(folder, run_id, *owner)
        tail.open = True
        tail.save()
        return tail

    def _run(self) -> None:
        self._adopt()
        asyncio.run(self._tell())

    def _adopt(self) -> None:
        """Runs of an earlier worker of this host whose lines were not all told."""
        for path in self._logs.glob("*/tail.json"):
            tail = RunTail.load(path.parent)
            if tail is not None and tail.open:
                with self._lock:
                    if tail.run_id not in self._tails:
                        self._tails[tail.run_id] = tail
                        self._over.add(tail.run_id)

    async def _tell(self) -> None:
        connecting = asyncio.create_task(self._bus.connect())
        while not connecting.done() and not self._stopping.is_set():
            await asyncio.sleep(TAIL_S)
        tasks = [asyncio.create_task(one) for one in (self._tell_lines(), self._tell_samples())]
        while not self._stopping.is_set():
            await asyncio.sleep(TAIL_S)
        with suppress(ServiceUnavailable, asyncio.TimeoutError):
            await asyncio.wait_for(self._last_lines(), LAST_LINES_S)
        for task in (connecting, *tasks):
            task.cancel()
            with suppress(asyncio.CancelledError, ServiceUnavailable):
                await task
        await self._bus.close()

    # ---- lines ----

    async def _tell_lines(self) -> None:
        ensured = False
        while True:
            try:
                if not ensured:
                    await self._bus.ensure(streams.LOGS)
                    ensured = True
                await self._tell_all()
            except ServiceUnavailable as error:
                log.debug("lines wait: %s", error)
                ensured = False
                await asyncio.sleep(SAMPLE_S)
            await asyncio.sleep(TAIL_S)

    async def _last_lines(self) -> None:
        with self._lock:
            self._over |= self._tails.keys() | self._wanted
        while self._tails or self._wanted:
            await self._tell_all()
            await asyncio.sleep(TAIL_S)

    async def _tell_all(self) -> None:
        if self._wanted:
            await asyncio.to_thread(self._open_wanted)
        with self._lock:
            tails = [(tail, run_id in self._over) for run_id, tail in self._tails.items()]
        for tail, over in tails:
            lines = tail.read(ended=over)
            kept = await self._bus.store([self._message(tail, line) for line in lines])
            tail.told(lines[:kept])
            if lines:
                tail.save()
            if kept < len(lines):
                raise ServiceUnavailable("NATS does not keep lines right now")
            if over and not lines:
                self._close(tail)

    def _close(self, tail: RunTail) -> None:
        with self._lock:
            if tail.run_id in self._over:  # it may have been claimed again meanwhile
                tail.open = False
                tail.save()
                self._over.discard(tail.run_id)
                self._tails.pop(tail.run_id, None)

    def _message(self, tail: RunTail, line: Line) -> Stored:
        payload = {"stream": line.stream, "level": line.level, "text": line.text}
        envelope = {
            "type": "log.line",
            "at": line.at.isoformat(),
            "job_id": str(tail.job_id),
            "run_id": str(tail.run_id),
            "payload": payload,
        }
        return Stored(
            f"{tail.run_id}.{self._host}.{line.source}.{line.offset}",
            subjects.of_logs(tail.account, tail.job_id, tail.run_id),
            json.dumps(envelope).encode(),
        )

    # ---- samples ----

    async def _tell_samples(self) -> None:
        ensured = False
        while True:
            try:
                if not ensured:
                    await self._bus.ensure(streams.SAMPLES)
                    ensured = True
                for device in self._devices:
                    sample = await asyncio.to_thread(self._sample, device.uuid)
                    self._energy_j[device.uuid] = sample.energy_j
                    await self._bus.tell(subjects.of_sample(device.uuid), sample_to_json(sample))
            except ServiceUnavailable:
                ensured = False
            await asyncio.sleep(SAMPLE_S)


def owner_of(database: Database, run_id: UUID) -> tuple[UUID, str] | None:
    """Job and account of a run; None where the database is away or does not know it."""
    with suppress(ServiceUnavailable), database.transaction() as connection:
        return queue.owner_of(connection, run_id)
    return None


def sample_to_json(sample: Sample) -> bytes:
    """A sample as JSON."""
    return json.dumps({**asdict(sample), "at": sample.at.isoformat()}).encode()
