"""One stack per data directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Own the data directory; the kernel lets go of it when this process ends, however it ends.

    Raises Conflict, naming the process that owns it.
    """
    with (data_dir / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise Conflict(
                f"constellation is already up in {data_dir} (process {owner}): "
                "`constellation status` shows it, `constellation down` stops it"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def is_held(data_dir: Path) -> bool:
    """Whether a running process owns the data directory."""
    path = data_dir / "lock"
    if not path.exists():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
