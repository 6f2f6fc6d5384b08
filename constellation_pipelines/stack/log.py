"""Log files of services: one each, with a few older ones beside it."""

from pathlib import Path
from typing import IO

LIMIT_BYTES = 10_000_000
KEPT = 3
TAIL_BYTES = 8192


def open_log(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> IO[bytes]:
    """Open a log for appending; where it has outgrown the limit, begin a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > limit_bytes:
        rotate(path)
    return path.open("ab", buffering=0)


def rotate(path: Path) -> None:
    """Rename `x.log` to `x.log.1`, `x.log.1` to `x.log.2` and so on; the oldest is dropped."""
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))


def complaint(path: Path, since_bytes: int = 0) -> str:
    """The line of a log that most likely says what went wrong, or an empty one.

    That is the last one that speaks of an error, else the last one that says anything. What was
    written before `since_bytes`, by earlier processes, does not count.
    """
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(since_bytes, path.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    spoken = [line.strip() for line in lines if line.strip()]
    errors = [line for line in spoken if "error" in line.lower() or "fatal" in line.lower()]
    return (errors or spoken or [""])[-1].removeprefix("error: ")
