"""Processor time and memory of processes, as the kernel counts them."""

import os
import threading
import time
from pathlib import Path
from types import TracebackType

SCHEDULED = 2  # of the kernel's clocks of a process: time on a processor, in nanoseconds
SAMPLE_S = 0.1


def cpu_s(pid: int) -> float:
    """Seconds that all threads of a process, living or not, have been on a processor."""
    return time.clock_gettime((~pid << 3) | SCHEDULED)


def pss_mb(pid: int) -> float:
    """Memory of a process, in MB: pages that several processes share count by their share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"process {pid} says nothing of its memory")


class PeakMemory:
    """The most memory that a process had while the context lasted, looked at every 0.1 s."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> "PeakMemory":
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._look()

    def _look(self) -> None:
        try:
            self.peak_mb = max(self.peak_mb, pss_mb(self._pid))
        except OSError:  # it has ended
            return


def drop_from_cache(path: Path) -> None:
    """Have the kernel forget a file's pages, so that the next reader goes to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
