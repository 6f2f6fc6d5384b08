"""Which process a worker was, and proof that it is no more.

A number alone proves nothing: numbers are given out again. A process is its number, the tick at
which it started, and where numbers mean the same: one boot of one kernel, one space of numbers.
"""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ENDED = ("Z", "X")  # a zombie's children have been told of its end already


@dataclass(frozen=True, slots=True)
class Identity:
    """A process. `boot_id` holds the boot and the space of process numbers."""

    boot_id: str
    pid: int
    started_ticks: int

    @property
    def is_local(self) -> bool:
        """Whether numbers mean here what they mean to this process."""
        return self.boot_id == boot_id()

    @property
    def is_dead(self) -> bool:
        """Proof of death. False for a process that lives, and for one we cannot judge."""
        if not self.is_local:
            return False
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            return self._has_ended()
        finally:
            os.close(handle)

    def kill(self) -> bool:
        """End this very process; whether it was there. A stranger of the same number is spared."""
        if not self.is_local:
            return False
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if self._has_ended():
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], 5.0)
            return True
        finally:
            os.close(handle)

    def _has_ended(self) -> bool:
        try:
            state, started_ticks = stat_of(self.pid)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's process, and /proc hides it
            return False
        return state in ENDED or started_ticks != self.started_ticks


def boot_id() -> str:
    """This boot, and the space in which this process's numbers hold."""
    return f"{BOOT_ID.read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"


def identity_of(pid: int) -> Identity | None:
    """The process that has this number now; None where there is none."""
    try:
        return Identity(boot_id(), pid, stat_of(pid)[1])
    except OSError:
        return None


def stat_of(pid: int) -> tuple[str, int]:
    """State letter and start tick of a process: fields 3 and 22 of /proc/<pid>/stat.

    Raises ProcessLookupError where it ended while we read, another OSError where we may not look.
    """
    # The second field is the program's name in brackets, which may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])
