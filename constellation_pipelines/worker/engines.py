"""One engine process per device: started, watched, started again when it dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.worker import process

LONGEST_BACKOFF_S = 30.0


@dataclass
class Engine:
    """The engine of one device and how often it has died in a row."""

    device: Device
    socket: Path
    child: "subprocess.Popen[bytes] | None" = None
    ready: bool = False
    deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)


class Engines:
    """The engines of this host. Every method returns at once; call `tick` often."""

    def __init__(self, devices: Iterable[Device], folder: Path, preload: Iterable[Path]) -> None:
        self._engines = {
            device.uuid: Engine(device, folder / f"{device.index}.sock") for device in devices
        }
        self._preload = [str(path) for path in preload]

    @property
    def sockets(self) -> dict[str, str]:
        """Socket path by device uuid."""
        return {uuid: str(engine.socket) for uuid, engine in self._engines.items()}

    def tick(self) -> list[tuple[str, bool]]:
        """Start what should run; return (device uuid, ready) of each engine that changed."""
        changes: list[tuple[str, bool]] = []
        for uuid, engine in self._engines.items():
            before = engine.ready
            self._tend(engine)
            if engine.ready != before:
                changes.append((uuid, engine.ready))
        return changes

    def _tend(self, engine: Engine) -> None:
        now = time.monotonic()
        if engine.child is not None and engine.child.poll() is not None:
            print(
                f"engine of {engine.device.uuid} ended with {engine.child.returncode}", flush=True
            )
            engine.child, engine.ready = None, False
            engine.deaths += 1
            engine.start_at = now + min(0.25 * 2**engine.deaths, LONGEST_BACKOFF_S)
        if engine.child is None and now >= engine.start_at:
            self._start(engine)
        elif engine.child is not None and not engine.ready and answers(engine.socket):
            engine.ready, engine.deaths = True, 0

    def _start(self, engine: Engine) -> None:
        engine.socket.unlink(missing_ok=True)
        command = [
            sys.executable,
            *("-m", "constellation_pipelines.inference.engine"),
            *("--device", engine.device.uuid, "--socket", str(engine.socket)),
        ]
        if engine.device.simulated:
            command.append("--simulated")
        if self._preload:
            command += ["--preload", *self._preload]
        # Not TERM: an engine that hangs would stay on the device of a worker that is gone.
        engine.child = process.spawn(
            command, env=self._environment(engine.device), death_signal=signal.SIGKILL
        )

    def _environment(self, device: Device) -> dict[str, str]:
        """A real device is named by its uuid, so that no index can be mistaken."""
        mask = "" if device.simulated else device.uuid
        return {**os.environ, "CUDA_VISIBLE_DEVICES": mask}

    def stop(self) -> None:
        """End every engine."""
        for engine in self._engines.values():
            if engine.child is not None:
                process.stop(engine.child)


def answers(socket: Path) -> bool:
    """True once an engine greets on its socket."""
    if not socket.exists():
        return False
    try:
        EngineClient(socket).hello()
    except EngineFailed:
        return False
    return True
