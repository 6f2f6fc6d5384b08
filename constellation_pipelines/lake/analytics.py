"""Questions to the lake, answered by DuckDB over the files of runs that the caller may see.

Each question has a connection of its own in memory. It can open the listed files and nothing else,
and its settings are locked before the first statement. What was asked reaches it as values.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import shapely

from constellation_pipelines.domain.analytics import Box, Findings, Part, Unread
from constellation_pipelines.domain.errors import (
    InvalidInput,
    ServiceUnavailable,
    TooManyRequests,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Period = Literal["all", "day", "month"]

MAGIC = b"PAR1"
LEAST_BYTES = 12  # magic, length of the footer, magic
WIDE_DEG = 180  # bounds that are wider are those of a footprint that 180 degrees splits
RING_S = 0.05
EPOCH = date(1970, 1, 1)
DAY_US = 86_400_000_000

PERIODS: dict[Period, str] = {
    "all": "null::date",
    "day": "computed_at::date",
    "month": "date_trunc('month', computed_at)::date",
}

FILES = "read_parquet($paths, hive_partitioning = false)"
SOME = "read_parquet(${files}, hive_partitioning = false)"

# The covering's columns alone, so that row groups that lie elsewhere are not read.
INSIDE = """
bbox.xmin <= $east_{n} and bbox.xmax >= $west_{n}
and bbox.ymin <= $north_{n} and bbox.ymax >= $south_{n}
"""

NAME = "run_id || ' ' || row_off_px || ' ' || col_off_px"

SPLIT = f"""
select {NAME}, st_aswkb(geometry) from {FILES}
 where state = 'COMPLETED' and bbox.xmax - bbox.xmin > {WIDE_DEG} and {{inside}}
"""

# Bounds that lie there count, unless they go round the globe: those of the named ones do.
LIES_THERE = f"""
{{inside}} and (bbox.xmax - bbox.xmin <= {WIDE_DEG} or list_contains($split::varchar[], {NAME}))
"""

SEEN = f"""
select scene, row_off_px, col_off_px, height_px, width_px, area_km2, valid_fraction, confidence,
       class_counts, run_id, epoch_us(created_at) as at_us
  from {SOME} where state = 'COMPLETED' and epoch_us(created_at) >= $from_us and {{there}}
"""

# A window of a scene counts once, as it was computed last; only then is looked at the end of the
# time asked for. No two rows of one file are of one window, so where a scene has one file nothing
# is compared: that takes half the time, and memory for none of the rows.
NEWEST = """
select * from ({seen})
qualify row_number() over (
   partition by scene, row_off_px, col_off_px, height_px, width_px
       order by at_us desc, run_id desc) = 1
"""

# A tile is a row for each of its classes and one, without a class, for all of them: so all of it is
# summed as it is read, and no table of tiles is kept.
FOUND = """
with tiles as (
  select *, {period} as period,
         area_km2 * case when $dense then 1 / (height_px::double * width_px)
                         else valid_fraction / nullif(units, 0) end as unit_km2
    from (select *, coalesce(list_sum(map_values(counts)), 0)::bigint as units
            from (select *, make_timestamp(at_us) as computed_at,
                         class_counts::json::map(integer, bigint) as counts
                    from ({newest}) where at_us < $until_us))
),
parts as (
  select period, confidence, unit_km2,
         unnest(list_prepend({{'key': null::integer, 'value': units}}, map_entries(counts))) as part
    from tiles
)
select period, part.key, count(*), sum(part.value)::bigint,
       coalesce(sum(part.value * unit_km2), 0), coalesce(sum(confidence * part.value), 0),
       coalesce(sum(part.value) filter (where confidence is not null), 0)::bigint
  from parts where part.key is null or part.value > 0 group by all
"""

PROBE = f"select count(hash(columns(*))) from {FILES}"


@dataclass(frozen=True, slots=True)
class RunFile:
    """The file of a run over a scene."""

    run_id: UUID
    scene_id: UUID
    path: Path


@dataclass(frozen=True, slots=True)
class Question:
    """What to count: tiles computed from day `first` to day `last` (UTC) that lie in `boxes`.

    `dense` says that the model counts pixels of its tiles, not chips. None means any.
    """

    period: Period
    dense: bool
    boxes: tuple[Box, ...] | None = None
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may take, and how many are answered at once; others are told to wait."""

    timeout_s: float = 10.0
    memory_mb: int = 512
    threads: int = 2
    at_once: int = 2


class Analyst:
    """Answers questions from the files of runs."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._seats = threading.BoundedSemaphore(limits.at_once)

    def find(self, files: Sequence[RunFile], question: Question) -> Findings:
        """What these files hold. Those that are missing or damaged are told and left out.

        Raises TooManyRequests while as many questions as may be are being answered,
        ServiceUnavailable when the answer takes too long, InvalidInput when it takes too much.
        """
        with self._seat():
            faults = {one: fault_of(one.path) for one in files}
            good = [one for one, fault in faults.items() if fault is None]
            with self._connection([one.path for one in good]) as connection:
                rows, damaged = answer(connection, good, question)
            parts = [Part(*row) for row in rows]
        return Findings(
            classes=[one for one in parts if one.value is not None],
            periods=[one for one in parts if one.value is None],
            runs=len(good) - len(damaged),
            unread=[Unread(one.run_id, fault) for one, fault in faults.items() if fault] + damaged,
        )

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if not self._seats.acquire(blocking=False):
            raise TooManyRequests(
                f"{self._limits.at_once} questions to the lake are being answered already; "
                "ask again in a moment",
                retry_after_s=1.0,
            )
        try:
            yield
        finally:
            self._seats.release()

    @contextmanager
    def _connection(self, paths: Sequence[Path]) -> Iterator["DuckDBPyConnection"]:
        """A connection that sees these files only, and is interrupted when it takes too long."""
        import duckdb

        limits = self._limits
        with duckdb.connect(
            config={
                "memory_limit": f"{limits.memory_mb}MB",
                "threads": limits.threads,
                "temp_directory": "",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        ) as connection:
            confine(connection, paths)
            try:
                with alarm(connection, limits.timeout_s):
                    yield connection
            except duckdb.InterruptException as error:
                raise ServiceUnavailable(
                    f"the answer took longer than {limits.timeout_s:g} s: ask for a smaller bbox, "
                    "one scene or job, or try again later"
                ) from error
            except duckdb.OutOfMemoryException as error:
                raise InvalidInput(
                    f"the answer takes more than {limits.memory_mb} MB of memory: ask for a "
                    "smaller bbox, or one scene or job"
                ) from error


@contextmanager
def alarm(connection: "DuckDBPyConnection", after_s: float) -> Iterator[None]:
    """Interrupt what runs in the connection after this time, again and again: an interruption that
    comes between two statements stops neither.
    """
    over = threading.Event()

    def ring() -> None:
        wait_s = after_s
        while not over.wait(wait_s):
            connection.interrupt()
            wait_s = RING_S

    thread = threading.Thread(target=ring, name="analytics alarm", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def confine(connection: "DuckDBPyConnection", paths: Sequence[Path]) -> None:
    """Close all doors but these files, and lock them."""
    connection.execute("set allowed_paths = $paths", {"paths": [str(path) for path in paths]})
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def answer(
    connection: "DuckDBPyConnection", files: Sequence[RunFile], question: Question
) -> tuple[list[tuple[Any, ...]], list[Unread]]:
    """Rows of FOUND. A file whose inside turns out to be damaged is found, told and left out."""
    import duckdb

    try:
        return found(connection, files, question), []
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error:
        sound = [one for one in files if is_sound(connection, one.path)]
        if len(sound) == len(files):
            raise
        damaged = [Unread(one.run_id, "damaged") for one in files if one not in sound]
        return found(connection, sound, question), damaged


def found(
    connection: "DuckDBPyConnection", files: Sequence[RunFile], question: Question
) -> list[tuple[Any, ...]]:
    """Rows of FOUND; none where there are no files."""
    if not files:
        return []
    runs = Counter(one.scene_id for one in files)
    groups = {
        "alone": [str(one.path) for one in files if runs[one.scene_id] == 1],
        "shared": [str(one.path) for one in files if runs[one.scene_id] > 1],
    }
    there, args = places(connection, files, question.boxes)
    parts = []
    for name, paths in groups.items():
        if paths:
            seen = " union all ".join(SEEN.format(files=name, there=sql) for sql in there)
            parts.append(f"({NEWEST.format(seen=seen) if name == 'shared' else seen})")
            args[name] = paths
    statement = FOUND.format(newest=" union all ".join(parts), period=PERIODS[question.period])
    return connection.execute(statement, args | values_of(question)).fetchall()


def places(
    connection: "DuckDBPyConnection", files: Sequence[RunFile], boxes: tuple[Box, ...] | None
) -> tuple[list[str], dict[str, Any]]:
    """Conditions on rows, of which one at most is true of any, and their values."""
    if boxes is None:
        return ["true"], {}
    paths = {"paths": [str(one.path) for one in files]}
    args: dict[str, Any] = {}
    split: list[str] = []
    conditions: list[str] = []
    for n, box in enumerate(boxes):
        inside, values = INSIDE.format(n=n), box_values(n, box)
        rows = connection.execute(SPLIT.format(inside=inside), paths | values)
        split += [name for name, wkb in rows.fetchall() if touches(wkb, box)]
        others = "".join(f" and not ({one})" for one in conditions)
        conditions.append(LIES_THERE.format(inside=inside) + others)
        args |= values
    return conditions, args | {"split": split}


def is_sound(connection: "DuckDBPyConnection", path: Path) -> bool:
    """Whether every value of a file can be read."""
    import duckdb

    try:
        connection.execute(PROBE, {"paths": [str(path)]}).fetchall()
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error:
        return False
    return True


def fault_of(path: Path) -> str | None:
    """`missing` or `damaged`, by a file's first and last bytes; None where they are Parquet's."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < LEAST_BYTES:
                return "damaged"
            file.seek(0)
            head = file.read(len(MAGIC))
            file.seek(-len(MAGIC), 2)
            return None if head == file.read() == MAGIC else "damaged"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "damaged"


def touches(wkb: bytes, box: Box) -> bool:
    """Whether the bounds of one of a footprint's parts touch a box."""
    west, south, east, north = box
    bounds = [part.bounds for part in shapely.get_parts(shapely.from_wkb(wkb))]
    return any(w <= east and e >= west and s <= north and n >= south for w, s, e, n in bounds)


def box_values(n: int, box: Box) -> dict[str, float]:
    """The values of INSIDE."""
    names = ("west", "south", "east", "north")
    return {f"{name}_{n}": value for name, value in zip(names, box, strict=True)}


def values_of(question: Question) -> dict[str, Any]:
    """The time asked for, in microseconds since 1970 (UTC), its end left out."""
    last = question.last
    return {
        "from_us": -(2**62) if question.first is None else microseconds(question.first),
        "until_us": 2**62 if last is None else microseconds(last) + DAY_US,
        "dense": question.dense,
    }


def microseconds(day: date) -> int:
    """Where a day begins, in microseconds since 1970 (UTC)."""
    return (day - EPOCH).days * DAY_US
