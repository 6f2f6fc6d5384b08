"""Our engine, end to end: its process, clients that ask it, and what both take."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine.counters import PeakMemory, cpu_s, pss_mb
from benchmarks.engine.rounds import Timed
from benchmarks.engine.workload import Workload, order_file
from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.inference.client import EngineClient

START_S = 120.0
MODULES = "constellation_pipelines.inference.engine", "benchmarks.engine.client"


@dataclass(frozen=True, slots=True)
class Visit:
    """One scene through the engine. Memory in MB; the client writes the COG."""

    timed: Timed
    engine_peak_mb: float
    client_peak_mb: float
    write_s: float
    told: dict[str, Any]


class Ours:
    """An engine process, asked by one client at a time."""

    def __init__(self, folder: Path, device: str | None) -> None:
        """`device` is a GPU's uuid; None for the processor."""
        self._folder = folder
        self._socket = folder / "engine.sock"
        command = [sys.executable, "-m", MODULES[0], "--device", device or "SIM-bench"]
        command += ["--socket", str(self._socket)] + ([] if device else ["--simulated"])
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device or ""}
        self._log = (folder / "engine.log").open("w")
        self._process = subprocess.Popen(command, env=environment, stderr=self._log)
        self._wait()
        self.idle_mb = pss_mb(self.pid)  # torch is loaded, no model is

    @property
    def pid(self) -> int:
        """Of the engine's process."""
        return self._process.pid

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                EngineClient(self._socket).hello()
                return
            except EngineFailed:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.2)

    def visit(self, workload: Workload, out: Path, scene: Path | None = None) -> Visit:
        """Scene to class map; `scene` where it is another file of the same content."""
        with tempfile.TemporaryDirectory(dir=self._folder) as passing:
            order = workload.order(Path(passing) / "work", scene)
            path = order_file(order, Path(passing) / "order.json")
            command = [sys.executable, "-m", MODULES[1], str(self._socket), str(path), str(out)]
            began_s = cpu_s(self.pid)
            asked = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            # Looked at from here, so that looking is not counted as theirs.
            with PeakMemory(self.pid) as engine_memory, PeakMemory(asked.pid) as client_memory:
                answer, _ = asked.communicate()
            engine_s = cpu_s(self.pid) - began_s
        if asked.returncode:
            raise RuntimeError(f"{workload.name}: the client failed; {self._log.name} may say why")
        told = json.loads(answer.splitlines()[-1])
        if told["failed"]:
            raise RuntimeError(f"{told['failed']} tiles of {workload.name} failed")
        timed = Timed(workload.chips, engine_s + told["cpu_s"], told["wall_s"])
        peaks = engine_memory.peak_mb, client_memory.peak_mb
        return Visit(timed, *peaks, told["write_s"], told)

    def stop(self) -> None:
        """End the engine."""
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@contextmanager
def engine(folder: Path, device: str | None = None) -> Iterator[Ours]:
    """An engine while the context lasts."""
    ours = Ours(folder, device)
    try:
        yield ours
    finally:
        ours.stop()
