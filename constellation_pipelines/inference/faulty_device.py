"""The faults of a simulated device, as its engine meets them."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable

import torch  # noqa: TID253 - raises torch's own errors; only the engine imports this module

from constellation_pipelines.domain.simulation import DeviceScript, Hang, Place, SimulationFile
from constellation_pipelines.domain.window import Window

HANG_POLL_S = 0.2


class DeviceLost(Exception):
    """The device does not answer any more; its process is of no use and has to go."""


class FaultyDevice:
    """Does before each batch, and to each read, what the simulation file tells."""

    def __init__(self, uuid: str, index: int, file: SimulationFile) -> None:
        self._uuid = uuid
        self._index = index
        self._file = file
        self._failed_reads: Counter[Place] = Counter()
        self._stopping = threading.Lock()

    @property
    def script(self) -> DeviceScript:
        """What the device is told now."""
        return self._file.read().script_of(self._uuid, self._index)

    def before_batch(self, windows: Iterable[Window], needed_mb: float) -> None:
        """Fail as told, or do nothing. Raises DeviceLost, torch.OutOfMemoryError."""
        script = self.script
        if script.lost:
            raise DeviceLost("the simulated device is lost")
        if any(place_of(window) in script.poison_tiles for window in windows):
            os.kill(os.getpid(), signal.SIGKILL)
        if script.memory_mb is not None and needed_mb > script.memory_mb:
            raise torch.OutOfMemoryError(
                f"simulated: {needed_mb:.0f} MB do not fit into {script.memory_mb} MB"
            )
        time.sleep(script.slow_ms / 1000)
        with self._stopping:  # one lane at a time, so that one SIGCONT is enough for all
            if self.script.hang is Hang.PROCESS:
                os.kill(os.getpid(), signal.SIGSTOP)
        while self.script.hang is Hang.BATCH:
            time.sleep(HANG_POLL_S)

    def spoils_read(self, window: Window) -> bool:
        """Whether this read of a tile is one of those that are told to fail."""
        place, unreadable = place_of(window), self.script.unreadable_tiles
        if place not in unreadable:
            return False
        self._failed_reads[place] += 1
        return self._failed_reads[place] <= unreadable[place]


def place_of(window: Window) -> Place:
    """A tile as the simulation file names it."""
    return window.row_off_px, window.col_off_px
