"""One engine process per device: started, watched, started again when it dies or hangs.

A device with a fault of its own is set aside: its engine is ended, and a fresh one has to pass a
probe, after a cool-down that doubles each time, before the device is offered again.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from constellation_pipelines.domain.device import Device
from constellation_pipelines.gpu.door import DeviceDoor, DeviceEvent
from constellation_pipelines.gpu.xid import XidClass, classify, describe
from constellation_pipelines.inference.protocol import Message
from constellation_pipelines.worker import process
from constellation_pipelines.worker.pulse import Pulse

LONGEST_BACKOFF_S = 30.0
LONGEST_COOL_DOWN_S = 3600.0
PING_EVERY_S = 1.0
SILENCE_S = 12.0  # a ping is answered by a thread of its own, whatever the device does
START_S = 300.0  # for torch, CUDA and the packages to be loaded


class ChangeKind(StrEnum):
    """What can happen to a device."""

    READY = "ready"
    GONE = "gone"
    HUNG = "hung"  # and was killed; a new engine follows
    XID = "xid"  # an event that is only kept
    QUARANTINED = "quarantined"
    PROBE_FAILED = "probe_failed"  # it stays in quarantine
    READMITTED = "readmitted"


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a device, in words, and by which Xid if by one."""

    uuid: str
    kind: ChangeKind
    message: str = ""
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an engine may take.

    `hang_s` for one batch, and for a probe; `cool_down_s` is the first pause of a device that is
    set aside.
    """

    hang_s: float = 60.0
    cool_down_s: float = 60.0


@dataclass
class Engine:
    """The engine of one device and how often it has died in a row."""

    device: Device
    socket: Path
    pulse: Pulse
    child: "subprocess.Popen[bytes] | None" = None
    ready: bool = False
    deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)
    started_at: float = 0.0
    ping_at: float = 0.0
    quarantined: bool = False
    cool_down_s: float = 0.0  # the next one
    readmitted_at: float = 0.0
    killed: bool = False


class Engines:
    """The engines of this host. Every method returns at once; call `tick` often."""

    def __init__(
        self,
        devices: Iterable[Device],
        folder: Path,
        preload: Iterable[Path],
        door: DeviceDoor | None = None,
        simulation: Path | None = None,
        patience: Patience | None = None,
        models_mb: int | None = None,
    ) -> None:
        """`door` tells of device faults; `simulation` is the file of simulated devices. `models_mb`
        is the room for weights on each device, None for the engine's own choice.
        """
        self._engines = {
            device.uuid: engine_of(device, folder / f"{device.index}.sock") for device in devices
        }
        self._preload = [str(path) for path in preload]
        self._door = door
        self._simulation = simulation
        self._patience = patience or Patience()
        self._models_mb = models_mb

    @property
    def sockets(self) -> dict[str, str]:
        """Socket path by device uuid."""
        return {uuid: str(engine.socket) for uuid, engine in self._engines.items()}

    def pid_of(self, uuid: str) -> int | None:
        """The process of a device's engine, None while there is none."""
        child = self._engines[uuid].child
        return None if child is None else child.pid

    def set_aside(self, uuid: str) -> None:
        """Keep a device in quarantine that was in it before this worker began."""
        self._cool_down(self._engines[uuid])

    def tick(self) -> list[Change]:
        """Do what is due; return what has happened since the last tick, in its order."""
        changes = [change for event in self._events() for change in self._befallen(event)]
        for engine in self._engines.values():
            changes += self._tend(engine)
        return changes

    def stop(self) -> None:
        """End every engine."""
        for engine in self._engines.values():
            engine.pulse.forget()
            if engine.child is not None:
                process.stop(engine.child)

    # ---- faults of devices ----

    def _events(self) -> list[DeviceEvent]:
        events = self._door.events() if self._door else []
        return [event for event in events if event.uuid in self._engines]

    def _befallen(self, event: DeviceEvent) -> list[Change]:
        engine, words = self._engines[event.uuid], describe(event.xid)
        if classify(event.xid) is not XidClass.DEVICE:
            return [Change(event.uuid, ChangeKind.XID, words, event.xid)]
        gone = self._kill(engine)
        self._cool_down(engine)
        return [*gone, Change(event.uuid, ChangeKind.QUARANTINED, words, event.xid)]

    def _cool_down(self, engine: Engine) -> None:
        """Set a device aside for its cool-down; the next one will be twice as long."""
        now = time.monotonic()
        first_s = self._patience.cool_down_s
        clean = engine.readmitted_at and now - engine.readmitted_at > LONGEST_COOL_DOWN_S
        pause_s = first_s if clean else engine.cool_down_s or first_s
        engine.quarantined = True
        engine.start_at = now + pause_s
        engine.cool_down_s = min(2 * pause_s, LONGEST_COOL_DOWN_S)

    def _probed(self, engine: Engine, answer: Message) -> list[Change]:
        """A device in quarantine has answered its probe."""
        uuid = engine.device.uuid
        if not answer.get("ok"):
            return self._probe_failed(engine, str(answer.get("reason")))
        engine.quarantined, engine.ready, engine.deaths = False, True, 0
        engine.readmitted_at = time.monotonic()
        return [
            Change(uuid, ChangeKind.READMITTED, "a fresh engine passed its probe"),
            Change(uuid, ChangeKind.READY),
        ]

    def _probe_failed(self, engine: Engine, reason: str) -> list[Change]:
        self._kill(engine)
        self._cool_down(engine)
        return [Change(engine.device.uuid, ChangeKind.PROBE_FAILED, reason)]

    # ---- the engine's process ----

    def _tend(self, engine: Engine) -> list[Change]:
        now = time.monotonic()
        if engine.child is not None and engine.child.poll() is not None:
            return self._ended(engine)
        if engine.child is None:
            if now >= engine.start_at:
                self._start(engine)
            return []
        if engine.killed:  # and not yet gone
            return []
        answer = engine.pulse.answer()
        if answer is not None:
            return self._answered(engine, answer)
        if (reason := self._overdue(engine)) is not None:
            return self._hung(engine, reason)
        if not engine.pulse.open and now >= engine.ping_at:
            engine.ping_at = now + PING_EVERY_S
            engine.pulse.ask("ping")
        return []

    def _answered(self, engine: Engine, answer: Message) -> list[Change]:
        if isinstance(answer.get("probe"), dict):
            return self._probed(engine, answer["probe"])
        batch_s = answer.get("ping", {}).get("batch_s") or 0.0
        if batch_s > self._patience.hang_s:
            return self._hung(engine, f"a batch has not ended after {batch_s:.0f} s")
        if engine.ready:
            return []
        if engine.quarantined:
            engine.pulse.ask("probe")
            return []
        engine.ready, engine.deaths = True, 0
        return [Change(engine.device.uuid, ChangeKind.READY)]

    def _overdue(self, engine: Engine) -> str | None:
        """Why an engine is taken for hung, None while it is not."""
        silent_s = engine.pulse.unanswered_s
        if engine.quarantined and silent_s > self._patience.hang_s:
            return f"no answer to a probe for {silent_s:.0f} s"
        if engine.ready and silent_s > min(SILENCE_S, self._patience.hang_s):
            return f"no answer for {silent_s:.0f} s"
        if not engine.ready and time.monotonic() - engine.started_at > START_S:
            return f"not ready {START_S:.0f} s after its start"
        return None

    def _hung(self, engine: Engine, reason: str) -> list[Change]:
        if engine.quarantined:
            return self._probe_failed(engine, reason)
        gone = self._kill(engine)
        return [Change(engine.device.uuid, ChangeKind.HUNG, f"its engine hung: {reason}"), *gone]

    def _kill(self, engine: Engine) -> list[Change]:
        """Kill an engine's whole process group; a stopped one dies of it too."""
        engine.pulse.forget()
        was_ready, engine.ready = engine.ready, False
        if engine.child is not None and engine.child.poll() is None:
            os.killpg(engine.child.pid, signal.SIGKILL)  # ours, and not reaped: never another's
            engine.killed = True
        return [Change(engine.device.uuid, ChangeKind.GONE)] if was_ready else []

    def _ended(self, engine: Engine) -> list[Change]:
        """An engine is gone, by itself or because we killed it."""
        uuid, child = engine.device.uuid, engine.child
        assert child is not None
        print(f"engine of {uuid} ended with {child.returncode}", flush=True)
        was_ready, was_killed = engine.ready, engine.killed
        engine.pulse.forget()
        engine.child, engine.ready, engine.killed = None, False, False
        if engine.quarantined:
            return [] if was_killed else self._probe_failed(engine, "its engine ended")
        engine.deaths += 1
        backoff_s = min(0.25 * 2**engine.deaths, LONGEST_BACKOFF_S)
        engine.start_at = time.monotonic() + (0 if was_killed else backoff_s)
        return [Change(uuid, ChangeKind.GONE)] if was_ready else []

    def _start(self, engine: Engine) -> None:
        engine.socket.unlink(missing_ok=True)
        device = engine.device
        command = [
            sys.executable,
            *("-m", "constellation_pipelines.inference.engine"),
            *("--device", device.uuid, "--index", str(device.index)),
            *("--socket", str(engine.socket)),
        ]
        if device.simulated:
            command.append("--simulated")
            if self._simulation is not None:
                command += ["--simulation", str(self._simulation)]
        if self._models_mb is not None:
            command += ["--models-mb", str(self._models_mb)]
        if self._preload:
            command += ["--preload", *self._preload]
        # Not TERM: an engine that hangs would stay on the device of a worker that is gone.
        engine.child = process.spawn(
            command, env=self._environment(device), death_signal=signal.SIGKILL
        )
        engine.started_at = engine.ping_at = time.monotonic()

    def _environment(self, device: Device) -> dict[str, str]:
        """A real device is named by its uuid, so that no index can be mistaken."""
        mask = "" if device.simulated else device.uuid
        return {**os.environ, "CUDA_VISIBLE_DEVICES": mask}


def engine_of(device: Device, socket: Path) -> Engine:
    """An engine that is still to be started."""
    return Engine(device, socket, Pulse(socket))
