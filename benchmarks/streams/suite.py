"""What is measured, in one run: a job that a thousand sockets follow, its peers, and a log."""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measurement import Bar, Measurement, percentile
from benchmarks.streams import logs, peers
from benchmarks.streams.feeder import argument
from benchmarks.streams.figures import Heard, heard
from benchmarks.streams.plan import JOB, LOG_SECONDS, SINGLE, Plan
from benchmarks.streams.services import Services, end, python, services
from constellation_pipelines.stack.ports import claim_any
from constellation_pipelines.store import events
from constellation_pipelines.store.database import Database
from tests.store import fleet

FEED = "from benchmarks.streams.feeder import work"
READ = "from benchmarks.streams.readers import work"
BROADCAST = "from benchmarks.streams.peers import work"
WARM_UP = 10_000  # events: as many as the API keeps in memory, so that what it keeps does not grow
SETTLE_S = 90.0
EVENT_BYTES = 430  # of an event of the bare broadcast


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of one plan. Memory in MB: with all sockets connected, and as it went on."""

    heard: Heard
    nats_s: list[float]
    lasted_s: float
    idle_mb: float
    early_mb: float
    end_mb: float
    api_cpu_s: float
    relay_cpu_s: float
    cuts: int


def run() -> list[Measurement]:
    """Measure; about three minutes."""
    with services() as served, tempfile.TemporaryDirectory(prefix="bench-") as name:
        warm_up(served)
        job = follow(served, JOB, Path(name) / "job.npz", salt=1)
        say("groups", job)
        single = follow(served, SINGLE, Path(name) / "single.npz", salt=2)
        say("singly", single)
        bare = bare_broadcast(JOB, Path(name) / "bare.npz")
        print(f"bare broadcast: p50 {bare.percentile_ms(50):.1f} ms", flush=True)
        lines = logs.measure(served, LOG_SECONDS)
    return [
        *of_job("", JOB, job, bare),
        *of_job("a commit per tile: ", SINGLE, single, None),
        *of_lines(lines),
    ]


def say(name: str, outcome: Outcome) -> None:
    """A line for whoever waits."""
    of = outcome.heard
    print(
        f"{name}: p50 {of.percentile_ms(50):.1f} ms, p99 {of.percentile_ms(99):.1f} ms, "
        f"{of.delivered} deliveries, {of.missing} missing, {of.doubled} double",
        flush=True,
    )


def warm_up(served: Services) -> None:
    """Events of another job, that nobody follows."""
    database = Database(served.database_url)
    job = fleet.job(database, account="local")
    filler = {"n": 0, "filler": "x" * 300}
    for _ in range(0, WARM_UP, 500):
        with database.transaction() as connection:
            for _ in range(500):
                events.emit(connection, "job.noted", job, None, filler)
    until_published(database)
    database.close()


def until_published(database: Database) -> None:
    """Wait until the relay has nothing left."""
    until = time.monotonic() + SETTLE_S
    left = "select count(*) as n from constellation.events where published_at is null"
    while (row := database.fetch_one(left)) and row["n"]:
        if time.monotonic() > until:
            raise RuntimeError(f"{row['n']} events are not published")
        time.sleep(0.2)


def follow(served: Services, plan: Plan, out: Path, salt: int) -> Outcome:
    """Commit a job's tiles while the sockets follow it."""
    feeder = python(FEED, [served.database_url, argument(plan), str(salt)])
    job = hear(feeder)
    url = f"{served.socket_url}?job_id={job}"
    cut = [str(plan.cut_share), str(plan.cut_every_s)]
    readers = python(READ, [url, str(plan.sockets), *cut, str(out)])
    try:
        hear(readers)
        time.sleep(1)
        subject = "constellation.*.tiles.>"
        idle_mb, api_s, relay_s = memory_mb(served.api), cpu_s(served.api), cpu_s(served.relay)
        with peers.subscriber(served.nats_url, subject) as messages, watching(served.api) as seen:
            began_s = time.monotonic()
            tell(feeder, "go")
            commits = json.loads(hear(feeder))
            lasted_s = time.monotonic() - began_s
            ids, committed_at = events_of(served.database_url, job, commits)
            tell(readers, str(ids[-1]))
            cuts = int(hear(readers))
            end_mb = memory_mb(served.api)
    finally:
        end(readers)
        end(feeder)
    early = [mb for at, mb in seen if at - began_s > plan.lasts_s / 5]
    of_id = dict(zip(ids, committed_at, strict=True))
    nats_s = [at - of_id[id] for at, data in messages if (id := json.loads(data)["id"]) in of_id]
    return Outcome(
        heard(out, ids, committed_at),
        nats_s,
        lasted_s,
        idle_mb,
        early[0] if early else idle_mb,
        end_mb,
        cpu_s(served.api) - api_s,
        cpu_s(served.relay) - relay_s,
        cuts,
    )


def events_of(url: str, job: str, commits: list[Any]) -> tuple[list[int], list[float]]:
    """Ids of the job's tiles, and the instant of each one's commit: a run's come in its order."""
    database = Database(url)
    rows = database.fetch_all(
        "select id, run_id from constellation.events "
        "where job_id = %s and type = 'tile.completed' order by id",
        (job,),
    )
    database.close()
    instants: dict[str, list[float]] = {}
    for run, count, at in commits:
        instants.setdefault(run, []).extend([at] * count)
    in_order = {run: iter(of) for run, of in instants.items()}
    return [row["id"] for row in rows], [next(in_order[str(row["run_id"])]) for row in rows]


def bare_broadcast(plan: Plan, out: Path) -> Heard:
    """The same frames, sent to as many sockets by the function that is made for it."""
    claim = claim_any()  # it holds the port until this is over
    port, frames = claim.port, plan.commits
    each = frames[0][2]
    count = min(len(frames), 200)
    pause_s = plan.lasts_s / len(frames)
    server = python(BROADCAST, [str(port), str(plan.sockets)])
    hear(server)
    url = f"ws://127.0.0.1:{port}/"
    readers = python(READ, [url, str(plan.sockets), "0", "1", str(out)])
    try:
        hear(readers)
        tell(server, f"{each} {EVENT_BYTES} {count} {pause_s}")
        sent = [float(one) for one in hear(server).split()]
        ids = list(range(peers.FIRST_ID, peers.FIRST_ID + each * count))
        tell(readers, str(ids[-1]))
        hear(readers)
    finally:
        end(readers)
        end(server)
    return heard(out, ids, [at for at in sent for _ in range(each)])


# ---- processes ----


def hear(process: "subprocess.Popen[str]") -> str:
    """A line that a process says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the benchmark has ended early; its error stands above")
    return line.strip()


def tell(process: "subprocess.Popen[str]", line: str) -> None:
    """Say a line to a process."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def memory_mb(process: psutil.Process) -> float:
    """Resident memory."""
    return float(process.memory_info().rss) / 1e6


def cpu_s(process: psutil.Process) -> float:
    """Processor time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def watching(process: psutil.Process) -> Iterator[list[tuple[float, float]]]:
    """Memory of a process each half second."""
    seen: list[tuple[float, float]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            seen.append((time.monotonic(), memory_mb(process)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


# ---- figures ----


def of_job(name: str, plan: Plan, of: Outcome, bare: Heard | None) -> list[Measurement]:
    """The figures of a plan with their bars."""
    where = {
        "sockets": plan.sockets,
        "events": plan.events,
        "per_s": round(plan.events / of.lasted_s),
        "commits": len(plan.commits),
        "frames": of.heard.frames,
        "cuts": of.cuts,
        "deliveries": of.heard.delivered,
        "deliveries_after_a_cut": of.heard.resumed,
        "readers_cpu_s": round(of.heard.cpu_s, 1),
    }

    def at(percent: float, bar: float) -> Measurement:
        return Measurement(
            f"{name}commit to frame, p{percent:g}",
            of.heard.percentile_ms(percent),
            "ms",
            Bar(bar, True),
            None if bare is None else bare.percentile_ms(percent),
            1e3 * percentile(of.nats_s, percent),
            where,
        )

    found = [
        at(50, 25),
        at(99, 100),
        Measurement(f"{name}missing", of.heard.missing, "events", Bar(0, True), conditions=where),
        Measurement(f"{name}doubled", of.heard.doubled, "events", Bar(0, True), conditions=where),
        Measurement(
            f"{name}out of order", of.heard.disordered, "events", Bar(0, True), conditions=where
        ),
    ]
    if plan.cut_share:
        found.append(Measurement(f"{name}forced reconnects", of.cuts, "sockets", conditions=where))
    return [
        *found,
        Measurement(
            f"{name}memory, end / early",
            of.end_mb / of.early_mb,
            "x",
            Bar(1.1, True),
            conditions=where
            | {"idle_mb": of.idle_mb, "early_mb": of.early_mb, "end_mb": of.end_mb},
        ),
        Measurement(f"{name}API, processor time", of.api_cpu_s / of.lasted_s, "cores"),
        Measurement(f"{name}relay, processor time", of.relay_cpu_s / of.lasted_s, "cores"),
    ]


def of_lines(lines: logs.Lines) -> list[Measurement]:
    """The figures of a log."""
    where = {"lines": lines.expected, "per_s": logs.PER_S}
    missing = 3 * lines.expected - len(lines.printed_s + lines.logged_s + lines.dagster_s)
    return [
        Measurement(f"{what}, p95", 1e3 * percentile(of or [9e9], 95), "ms", bar, conditions=where)
        for what, of, bar in (
            ("print to reader", lines.printed_s, Bar(250, True)),
            ("log to reader", lines.logged_s, Bar(250, True)),
            ("print to Dagster's UI", lines.dagster_s, None),
        )
    ] + [Measurement("lines missing", missing, "lines", Bar(0, True), conditions=where)]
