"""From a line that a run prints to a reader of the log, and to Dagster's UI.

A process prints and logs through what captures a run's output, the worker's thread reads the files
and tells NATS, the API sends server-sent events. Each line holds the instant before it was printed.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from benchmarks.streams.services import Services, end, python
from constellation_pipelines.settings import Settings
from constellation_pipelines.store.database import Database
from tests.store import fleet

MARK = "at="
PER_S = 25.0
SETTLE_S = 30.0
STEP = "predict"


@dataclass(frozen=True, slots=True)
class Lines:
    """Seconds from the print of each line to its arrival."""

    printed_s: list[float]
    logged_s: list[float]
    dagster_s: list[float]
    expected: int


def measure(served: Services, seconds: float) -> Lines:
    """Print for so long, and listen."""
    database = Database(served.database_url)
    job = fleet.job(database, account="local")
    run = fleet.run_of(database, job)
    database.execute("update constellation.runs set account = 'local' where id = %s", (run,))
    database.close()
    count = round(seconds * PER_S)
    folder = str(Settings(data_dir=served.folder).run_logs_dir)
    printer = python(
        "from benchmarks.streams.logs import printing as work", [folder, str(run), str(count)]
    )
    worker = python(
        "from benchmarks.streams.logs import telling as work",
        [served.database_url, served.nats_url, folder, str(run)],
    )
    found: dict[str, list[float]] = {"stdout": [], "log": []}
    try:
        assert worker.stdout is not None
        assert printer.stdin is not None
        worker.stdout.readline()
        with dagster_ui(folder, str(run)) as shown, listening(served.api_url, job, found):
            printer.stdin.write("\n")
            printer.stdin.flush()
            until = time.monotonic() + seconds + SETTLE_S
            while time.monotonic() < until and (
                any(len(of) < count for of in found.values()) or len(shown) < count
            ):
                time.sleep(0.1)
            return Lines(found["stdout"], found["log"], list(shown), count)
    finally:
        end(printer)
        end(worker)


@contextmanager
def listening(api_url: str, job: UUID, found: dict[str, list[float]]) -> Iterator[None]:
    """Read the job's log in a thread."""
    begun = threading.Event()

    def read() -> None:
        try:
            with client.stream("GET", f"{api_url}/api/v1/jobs/{job}/logs") as response:
                begun.set()
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        now = time.monotonic()
                        said = json.loads(line[6:])["payload"]
                        found[said["stream"]].extend(since(said["text"], now))
        except (httpx.TransportError, httpx.StreamError):
            pass  # it is over

    client = httpx.Client(timeout=SETTLE_S)
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    begun.wait(SETTLE_S)
    time.sleep(0.5)  # the subscription begins after the answer
    try:
        yield
    finally:
        client.close()


def since(text: str, now: float) -> list[float]:
    """Seconds since each line of a text was printed."""
    return [now - float(at) for at in text.split(MARK)[1:]] if MARK in text else []


@contextmanager
def dagster_ui(folder: str, run_id: str) -> Iterator[list[float]]:
    """What Dagster's web server does for a page that shows a step's output."""
    from constellation_pipelines.launcher.compute_logs import ConstellationComputeLogManager
    from constellation_pipelines.stack.dagster_home import instance_config

    config = instance_config(Path(folder).parent)["compute_logs"]["config"]
    manager = ConstellationComputeLogManager(**config)
    shown: list[float] = []

    def show(data: Any) -> None:
        now = time.monotonic()
        shown.extend(
            at for line in (data.stdout or b"").decode().splitlines() for at in since(line, now)
        )

    subscription = manager.subscribe([run_id, "compute_logs", STEP])
    subscription(show)
    try:
        yield shown
    finally:
        manager.unsubscribe(subscription)  # type: ignore[no-untyped-call]  # Dagster's own
        manager.dispose()


def printing(folder: str, run_id: str, count: str) -> None:
    """Print and log stamped lines as a step of a run does, at uneven intervals."""
    import logging

    from constellation_pipelines.launcher.compute_logs import ConstellationComputeLogManager
    from constellation_pipelines.observability.run_log import RunLogHandler

    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.INFO)
    logger.addHandler(RunLogHandler(Path(folder) / run_id))
    sys.stdin.readline()
    rhythm = random.Random(7)
    with ConstellationComputeLogManager(folder).capture_logs([run_id, "compute_logs", STEP]):
        for n in range(int(count)):
            time.sleep(rhythm.expovariate(PER_S))
            print(f"line {n} {MARK}{time.monotonic()}")
            logger.info(f"line {n} {MARK}{time.monotonic()}")
        time.sleep(3 * SETTLE_S)  # the step goes on, so that nothing is flushed by its end


def telling(database_url: str, nats_url: str, folder: str, run_id: str) -> None:
    """Tell a run's lines as a worker does, until the input ends."""
    from datetime import UTC, datetime

    from constellation_pipelines.domain.sample import Sample
    from constellation_pipelines.events.bus import Bus
    from constellation_pipelines.worker.telemetry import Telemetry

    def sample(uuid: str) -> Sample:
        return Sample(uuid, datetime.now(UTC), simulated=True)

    telemetry = Telemetry(Bus(nats_url), Database(database_url), Path(folder), [], sample, "host")
    telemetry.start()
    telemetry.follow(UUID(run_id))
    time.sleep(1)
    print("following", flush=True)
    sys.stdin.readline()
    telemetry.stop()
