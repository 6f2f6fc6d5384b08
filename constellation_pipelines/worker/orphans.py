"""Processes that a dead worker left behind: found by a mark in their environment, and ended.

The kernel ends a worker's children with it. What they had started themselves it does not know of,
and it would use a device that nobody watches.
"""

import os
from pathlib import Path
from uuid import UUID

from constellation_pipelines.worker.identity import Identity, identity_of

MARK = "CONSTELLATION_WORKER_ID"


def mark_children(worker_id: UUID) -> None:
    """Let every process that is started from now on carry this worker's id."""
    os.environ[MARK] = str(worker_id)


def end_orphans(worker_id: UUID) -> int:
    """Kill what carries the mark of a worker that is proven dead; return how many there were."""
    return sum(process.kill() for process in marked(worker_id))


def marked(worker_id: UUID) -> list[Identity]:
    """The processes that carry this worker's mark. This one is never among them."""
    wanted = f"{MARK}={worker_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            # The identity is read first: what is killed is then what the mark was read of.
            process = identity_of(int(entry.name))
            if process is not None and wanted in environment_of(process.pid):
                found.append(process)
    return found


def environment_of(pid: int) -> list[bytes]:
    """The environment a process was started with; nothing where it is gone or not ours."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
