"""Processes that are not our children, told apart from strangers that got the same number."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "CONSTELLATION_STACK_ID"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class ProcessId:
    """A process by number and start: numbers are given out again, the pair is not."""

    pid: int
    start: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return identify(self.pid) == self


def identify(pid: int) -> ProcessId | None:
    """The identity of the process that has this number now, or None. Zombies do not count."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessId(pid, _start_of(process))
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        return None


def own_identity() -> ProcessId:
    """The identity of this process."""
    return ProcessId(os.getpid(), _start_of(psutil.Process()))


def _start_of(process: psutil.Process) -> str:
    """Boot and clock tick: unlike a time of day it does not move when the clock is set."""
    try:
        tail = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return f"{BOOT_ID.read_text().strip()}:{tail[19]}"
    except FileNotFoundError:
        if BOOT_ID.exists():
            raise psutil.NoSuchProcess(process.pid) from None
        return f"{process.create_time():.2f}"


def send(process: ProcessId, sign: signal.Signals) -> bool:
    """Signal this very process; False where it has gone. Never signals a stranger."""
    with _handle(process.pid) as handle:
        if handle is None or not process.is_alive:
            return False
        signal.pidfd_send_signal(handle, sign)
        return True


def wait(process: ProcessId, timeout_s: float) -> bool:
    """Wait for a process to end; whether it did."""
    with _handle(process.pid) as handle:
        if handle is None or not process.is_alive:
            return True
        readable, _, _ = select.select([handle], [], [], timeout_s)
        return bool(readable)


@contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    """A handle that keeps meaning the process that has the number now."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def marked(stack_id: str) -> list[ProcessId]:
    """Every process, save this one, that was started with this stack's mark in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == stack_id:
                identity = identify(process.pid)
                if identity:
                    found.append(identity)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
    return found


def end_marked(stack_id: str, grace_s: float) -> int:
    """End what is left of a stack: TERM, then KILL. Returns how many processes there were."""
    left = marked(stack_id)
    for sign, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        living = [process for process in left if send(process, sign)]
        for process in living:
            wait(process, patience_s)
    return len(left)
