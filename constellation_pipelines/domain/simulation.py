"""What simulated devices are told to do: how they fail, how slow they are, what fits on them.

One JSON file, read again whenever it changes:

    {"devices": {"0": {"memory_mb": 400, "slow_ms": 20, "xids": [{"serial": 1, "number": 79}]}}}

Keys are a device's index or its uuid; docs/simulation.md has every field. The worker plays NVML's
part from it, the simulated engine the hardware's. Nothing here is ever asked of a real device.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from constellation_pipelines.domain.errors import InvalidInput

TEMPLATE = '{\n  "devices": {}\n}\n'

Place = tuple[int, int]  # row and column offset of a tile, in pixels


class Hang(StrEnum):
    """What stands still."""

    BATCH = "batch"  # the batch never ends; the engine still answers
    PROCESS = "process"  # the whole engine process stops, as under SIGSTOP


@dataclass(frozen=True, slots=True)
class Xid:
    """One event. It fires once, when its serial is first seen; serials only grow."""

    serial: int
    number: int


@dataclass(frozen=True, slots=True)
class DeviceScript:
    """What one simulated device is told. The default is a device that does nothing wrong.

    `memory_mb` None is all it was registered with; `slow_ms` is added to each batch; a tile of
    `poison_tiles` kills the engine; one of `unreadable_tiles` fails to be read so many times.
    """

    memory_mb: int | None = None
    slow_ms: float = 0.0
    hang: Hang | None = None
    lost: bool = False
    xids: tuple[Xid, ...] = ()
    poison_tiles: frozenset[Place] = frozenset()
    unreadable_tiles: Mapping[Place, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Simulation:
    """The scripts of all devices, by index or uuid."""

    scripts: Mapping[str, DeviceScript] = field(default_factory=dict)

    def script_of(self, uuid: str, index: int) -> DeviceScript:
        """A device's script; its uuid goes before its index."""
        return self.scripts.get(uuid) or self.scripts.get(str(index)) or DeviceScript()


def parse(text: str) -> Simulation:
    """The scripts in a file's text. Raises InvalidInput, saying what is wrong and where."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"the simulation file is not JSON: {error}") from error
    devices = content.get("devices", {}) if isinstance(content, dict) else None
    if not isinstance(devices, dict):
        raise InvalidInput('the simulation file must be {"devices": {"<index or uuid>": {...}}}')
    return Simulation({key: script(key, value) for key, value in devices.items()})


def script(key: str, content: Any) -> DeviceScript:
    """The script of one device. Raises InvalidInput."""
    known = set(DeviceScript.__slots__)
    if not isinstance(content, dict) or not set(content) <= known:
        raise InvalidInput(
            f"device {key} of the simulation file takes only: {', '.join(sorted(known))}"
        )
    try:
        return DeviceScript(
            memory_mb=None if content.get("memory_mb") is None else int(content["memory_mb"]),
            slow_ms=float(content.get("slow_ms", 0)),
            hang=Hang(content["hang"]) if content.get("hang") else None,
            lost=bool(content.get("lost", False)),
            xids=tuple(Xid(int(x["serial"]), int(x["number"])) for x in content.get("xids", ())),
            poison_tiles=frozenset(place(tile) for tile in content.get("poison_tiles", ())),
            unreadable_tiles={
                place(tile): int(times) for *tile, times in content.get("unreadable_tiles", ())
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"device {key} of the simulation file is malformed: {error}") from error


def place(content: Any) -> Place:
    """[row_off_px, col_off_px] as a tile's place. Raises ValueError, TypeError."""
    row, col = content
    return int(row), int(col)


class SimulationFile:
    """A simulation file that may change at any moment, and may be missing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._last = Simulation()

    def read(self) -> Simulation:
        """What it says now. A file that is half written or wrong leaves what it said before."""
        if self._path is None:
            return self._last
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp == self._stamp:
                return self._last
            fresh = parse(self._path.read_text())
            self._stamp, self._last = stamp, fresh
        except FileNotFoundError:
            self._stamp, self._last = None, Simulation()
        except (OSError, InvalidInput) as error:
            print(f"{self._path}: {error}; what it said before still holds", flush=True)
        return self._last
