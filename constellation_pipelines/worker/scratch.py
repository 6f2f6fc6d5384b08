"""A worker's folder for sockets: gone when the worker ends, or when the next one starts."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PREFIX = "constellation-worker-"
# A Unix socket's name holds 107 bytes: the folder's own name and the longest of a socket are in it.
LONGEST_PLACE_BYTES = 107 - len(f"/{PREFIX}12345678/999.sock")
OTHERS = ("/tmp", "/var/tmp")
LOCK = "lock"  # held by the worker as long as it lives, however it ends


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private folder with a short path; folders of workers that were killed are removed first."""
    place = place_for_sockets()
    for folder in place.glob(f"{PREFIX}*"):
        if is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as made:
        # Under its name only once it is held, so that nobody takes the folder for abandoned.
        fresh = Path(made) / f"{LOCK}.new"
        with fresh.open("w") as lock:
            holds(lock)
            fresh.rename(Path(made) / LOCK)
            yield Path(made)


def place_for_sockets() -> Path:
    """The folder for temporary files; where its path is too long for sockets, the system's own."""
    usual = tempfile.gettempdir()
    for place in (usual, *OTHERS):
        if len(os.fsencode(place)) <= LONGEST_PLACE_BYTES and os.access(place, os.W_OK):
            return Path(place)
    return Path(usual)


def is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the folder any more. False where that cannot be known."""
    try:
        with (folder / LOCK).open("r+") as lock:
            return holds(lock)
    except OSError:
        return False


def holds(lock: IO[str]) -> bool:
    """Take the lock, until the file is closed; False when another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
