"""Questions to the lake, answered by DuckDB over the files of runs that the caller may see.

Each question has a connection of its own in memory. It can open the listed files and nothing else,
and its settings are locked before the first statement. What was asked reaches it as values.
"""

import threading
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
  from {FILES} where state = 'COMPLETED' and epoch_us(created_at) >= $from_us and {{there}}
"""

# A window of a scene counts once, as it was computed last; only then is looked at the end of the
# time asked for. What is read twice, for two boxes that both touch it, falls together as well.
FOUND = """
with seen as ({seen}),
newest as (
  select * from seen
 qualify row_number() over (
    partition by scene, row_off_px, col_off_px, height_px, width_px
        order by at_us desc, run_id desc) = 1
),
tiles as (
  select *, {period} as period, list_sum(map_values(counts))::bigint as units,
         area_km2 * case when $dense then 1 / (height_px::double * width_px)
                         else valid_fraction / list_sum(map_values(counts)) end as unit_km2
    from (select *, make_timestamp(at_us) as computed_at,
                 class_counts::json::map(integer, bigint) as counts
            from newest where at_us < $until_us)
),
classes as (
  select period, confidence, unit_km2, unnest(map_entries(counts)) as class from tiles
)
select period, class.key, count(*), sum(class.value)::bigint, sum(class.value * unit_km2),
       coalesce(sum(confidence * class.value), 0),
       coalesce(sum(class.value) filter (where confidence is not null), 0)::bigint
  from classes where class.value > 0 group by all
union all
select period, null, count(*), coalesce(sum(units), 0)::bigint,
       coalesce(sum(units * unit_km2), 0), coalesce(sum(confidence * units), 0),
       coalesce(sum(units) filter (where confidence is not null), 0)::bigint
  from tiles group by all
"""

PROBE = "select count(hash(columns(*))) from read_parquet($paths, hive_partitioning = false)"


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

    def find(self, files: dict[UUID, Path], question: Question) -> Findings:
        """What these files hold. Those that are missing or damaged are told and left out.

        Raises TooManyRequests while as many questions as may be are being answered,
        ServiceUnavailable when the answer takes too long, InvalidInput when it takes too much.
        """
        with self._seat():
            unread = [
                Unread(run, why)
                for run, path in files.items()
                if (why := fault_of(path)) is not None
            ]
            left_out = {one.run_id for one in unread}
            good = {run: path for run, path in files.items() if run not in left_out}
            with self._connection([*good.values()]) as connection:
                rows, damaged = answer(connection, good, question)
            parts = [Part(*row) for row in rows]
        return Findings(
            classes=[one for one in parts if one.value is not None],
            periods=[one for one in parts if one.value is None],
            runs=len(good) - len(damaged),
            unread=unread + damaged,
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
    connection: "DuckDBPyConnection", files: dict[UUID, Path], question: Question
) -> tuple[list[tuple[Any, ...]], list[Unread]]:
    """Rows of FOUND. A file whose inside turns out to be damaged is found, told and left out."""
    import duckdb

    hopeless = (duckdb.InterruptException, duckdb.OutOfMemoryException)
    try:
        return found(connection, [*files.values()], question), []
    except hopeless:
        raise
    except duckdb.Error:
        sound = {run: path for run, path in files.items() if is_sound(connection, path)}
        if len(sound) == len(files):
            raise
        damaged = [Unread(run, "damaged") for run in files if run not in sound]
        return found(connection, [*sound.values()], question), damaged


def found(
    connection: "DuckDBPyConnection", paths: Sequence[Path], question: Question
) -> list[tuple[Any, ...]]:
    """Rows of FOUND; none where there are no files."""
    if not paths:
        return []
    listed = [str(path) for path in paths]
    bounds = values_of(question)
    boxes = [box_values(n, box) for n, box in enumerate(question.boxes or ())]
    inside = [INSIDE.format(n=n) for n in range(len(boxes))]
    args: dict[str, Any] = {"paths": listed, **bounds}
    if boxes:
        split: list[str] = []
        for sql, values, box in zip(inside, boxes, question.boxes or (), strict=True):
            rows = connection.execute(SPLIT.format(inside=sql), {"paths": listed, **values})
            split += [name for name, wkb in rows.fetchall() if touches(wkb, box)]
            args |= values
        args["split"] = split
    there = [LIES_THERE.format(inside=sql) for sql in inside] or ["true"]
    seen = " union all ".join(SEEN.format(there=sql) for sql in there)
    statement = FOUND.format(seen=seen, period=PERIODS[question.period])
    return connection.execute(statement, args).fetchall()


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
