"""The chaos suite: a stack of its own, a stream of jobs, kills, then the invariants."""

import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.chaos.feeder import EXHAUSTED, Feeder, Told
from benchmarks.chaos.invariants import World, violations
from benchmarks.chaos.kill import NOTICE_LIMIT_S, RUN_LIMIT_S, Kill
from benchmarks.chaos.killing import Course, kills
from benchmarks.chaos.observer import Away, Observer, dagster_row_counts
from benchmarks.chaos.report import report
from benchmarks.chaos.scenes import SceneShelf
from benchmarks.chaos.stream import streamed
from benchmarks.chaos.victims import family
from benchmarks.measurement import Measurement
from constellation_pipelines.stack import status
from constellation_pipelines.stack.process import marked

LONG_KILLS = 100
DRAIN_LIMIT_S = 600.0


@dataclass
class Outcome:
    """What came of it."""

    kills: list[Kill] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    violations: list[str] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)


def run() -> list[Measurement]:
    """The long form: `CHAOS_KILLS` kills (100) from seed `CHAOS_SEED` (any)."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    course = Course(seed=seed, kills=int(os.environ.get("CHAOS_KILLS") or LONG_KILLS))
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/var/tmp"))
    folder.chmod(0o755)
    print(f"seed {seed}: CHAOS_SEED={seed} CHAOS_KILLS={course.kills} repeats the choices")
    outcome = chaos(course, folder)
    for sentence in outcome.violations:
        print(f"VIOLATED: {sentence}")
    if outcome.violations:
        print(f"kept for inspection: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return report(course.seed, outcome.kills, outcome.told, outcome.violations, outcome.counts)


def chaos(course: Course, data_dir: Path) -> Outcome:
    """Run the suite in a data directory; the stack is down when this returns."""
    outcome = Outcome()
    temp = data_dir / "tmp"  # so that what a killed process leaves there is seen
    temp.mkdir()
    with stack(data_dir, temp) as observer:
        stack_id = observer.stack().stack_id
        shelf = SceneShelf(data_dir / "scenes", course.sizes_px, random.Random(course.seed))
        feeder = Feeder(
            Observer(data_dir, observer.urls),
            shelf,
            random.Random(course.seed + 1),
            open_jobs=course.open_jobs,
            cancelled_share=course.cancelled_share,
        )
        feeder.start()
        try:
            for kill in kills(course, observer):
                outcome.kills.append(kill)
                if feeder.failure:
                    break
            feeder.close_the_door()
            drain(observer, feeder)
        finally:
            feeder.stop()
        outcome.told = feeder.told
        outcome.violations = broken_promises(outcome.kills, feeder)
        outcome.violations += violations(observer.urls["database"], world(observer, feeder.told))
        outcome.counts = counts(observer)
    outcome.violations += left_over(stack_id, data_dir, temp)
    return outcome


@contextmanager
def stack(data_dir: Path, temp: Path) -> Iterator[Observer]:
    """A stack of its own with two simulated devices."""
    told = {
        "CONSTELLATION_DATA_DIR": str(data_dir),
        "CONSTELLATION_SCENE_ROOTS": str(data_dir / "scenes"),
        "CONSTELLATION_API_PORT": "0",
        "CONSTELLATION_SIMULATE_GPUS": "2",
        "TMPDIR": str(temp),
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    print("starting the stack", flush=True)
    try:
        constellation("up", "--detach")
        try:
            with closing(Observer(data_dir, urls_of(data_dir))) as observer:
                yield observer
        finally:
            constellation("down")
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def constellation(*arguments: str) -> None:
    """Run a command as a user would. Raises RuntimeError with what it said when it fails."""
    command = [sys.executable, "-m", "constellation_pipelines.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"constellation {' '.join(arguments)}: {done.stdout}{done.stderr}")


def urls_of(data_dir: Path) -> Mapping[str, str]:
    """The URLs of the stack that was just started."""
    found = status.read_running(data_dir)
    if found is None:
        raise RuntimeError(f"the stack in {data_dir} does not run")
    return found.urls


# ---- afterwards ----

OPEN = """
select (select count(*) from constellation.jobs where state in ('PENDING', 'RUNNING'))
     + (select count(*) from constellation.run_queue where state <> 'done')
     + (select count(*) from constellation.events where published_at is null)
     + (select count(*) from constellation.jobs where state = 'FAILED' and error like %s)
"""

COUNTS = """
select (select count(*) from constellation.jobs where state = 'COMPLETED') as jobs_completed,
       (select count(*) from constellation.jobs where state = 'CANCELLED') as jobs_cancelled,
       (select count(*) from constellation.tiles) as tiles,
       (select coalesce(sum(n - 1), 0) from (
          select count(*) as n from constellation.events where type = 'tile.completed'
           group by run_id, payload ->> 'row_off_px', payload ->> 'col_off_px') again) as again
"""


def drain(observer: Observer, feeder: Feeder) -> None:
    """Wait until all work has ended, or the limit passes: the invariants tell what is left then."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    while time.monotonic() < deadline and feeder.failure is None:
        try:
            if observer.number(OPEN, f"%{EXHAUSTED}%") == 0:
                return
        except Away:
            pass
        time.sleep(0.5)


def world(observer: Observer, told: Told) -> World:
    """What the invariants look at."""
    url = observer.urls["dagster"]
    return World(
        lake=observer.data_dir / "lake",
        row_counts=lambda run_id: dagster_row_counts(url, run_id),
        accepted=told.accepted,
        streamed=streamed(observer.urls["nats"]),
        run_pids=[process.pid for process in family(observer.stack().stack_id).runs],
    )


def counts(observer: Observer) -> Mapping[str, int]:
    """How much was done."""
    return {name: int(value) for name, value in observer.rows(COUNTS)[0].items()}


def broken_promises(made: Sequence[Kill], feeder: Feeder) -> list[str]:
    """What went wrong on the way."""
    found = [f"the feeder ended: {feeder.failure!r}"] if feeder.failure else []
    found += [f"the API answered POST {what} with 500" for what in feeder.told.internal_errors]
    for kill in made:
        if kill.noticed_s is None:
            found.append(f"the end of {kill.what} was not noticed in {NOTICE_LIMIT_S:g} s")
        if kill.running_s is None:
            found.append(f"work did not go on within {RUN_LIMIT_S:g} s of the end of {kill.what}")
    return found


def left_over(stack_id: str, data_dir: Path, temp: Path) -> list[str]:
    """Processes and temporary files that a stack which is down has left."""
    ours = {process.pid for process in marked(stack_id)} | set(processes_in(data_dir))
    found = [f"process {pid} outlived the stack: {command(pid)}" for pid in sorted(ours)]
    return found + [f"{path} was left behind" for path in sorted(temp.iterdir())]


def processes_in(folder: Path) -> Iterator[int]:
    """Processes that work in a folder: PostgreSQL's own overwrite their environment."""
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                yield process.pid
        except (psutil.Error, OSError):
            continue


def command(pid: int) -> str:
    """A process's command line, for people."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return "gone by now"
