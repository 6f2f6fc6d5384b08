"""The simulated door tells what its file tells, each thing once."""

import json
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.simulation import (
    TEMPLATE,
    DeviceScript,
    Hang,
    Simulation,
    SimulationFile,
    Xid,
    parse,
)
from constellation_pipelines.gpu.simulated import SimulatedDoor
from constellation_pipelines.gpu.xid import LOST


class Told:
    """A simulation file, and a door that was opened when it said what is given here."""

    def __init__(self, path: Path, **devices: Any) -> None:
        self.path = path
        self.tell(**devices)
        self.door = SimulatedDoor("host", 2, SimulationFile(path))
        self.uuids = [device.uuid for device in self.door.devices()]

    def tell(self, **devices: Any) -> None:
        self.path.write_text(json.dumps({"devices": {k.strip("_"): v for k, v in devices.items()}}))

    def events(self) -> list[tuple[int, int]]:
        """Index of the device, Xid."""
        return [(self.uuids.index(event.uuid), event.xid) for event in self.door.events()]


def test_each_event_fires_once(tmp_path: Path) -> None:
    told = Told(tmp_path / "simulation.json")
    assert told.events() == []
    told.tell(_1={"xids": [{"serial": 1, "number": 13}, {"serial": 2, "number": 79}]})
    assert told.events() == [(1, 13), (1, 79)]
    assert told.events() == []
    told.tell(
        _1={"xids": [{"serial": 3, "number": 48}]}, _0={"xids": [{"serial": 1, "number": 31}]}
    )
    assert told.events() == [(0, 31), (1, 48)]


def test_what_was_told_before_the_door_opened_has_happened_already(tmp_path: Path) -> None:
    told = Told(
        tmp_path / "simulation.json", _0={"xids": [{"serial": 5, "number": 79}], "lost": True}
    )
    assert told.events() == []


def test_a_device_is_lost_once_and_again_after_it_was_back(tmp_path: Path) -> None:
    told = Told(tmp_path / "simulation.json")
    for _ in range(2):
        told.tell(_0={"lost": True})
        assert told.events() == [(0, LOST)]
        assert told.events() == []
        told.tell()
        assert told.events() == []


def test_the_memory_of_a_device_is_what_its_script_says(tmp_path: Path) -> None:
    told = Told(tmp_path / "simulation.json", _1={"memory_mb": 777})
    first, second = told.door.devices()
    assert second.total_mem_mb == 777
    assert first.total_mem_mb > 777


def test_every_field_is_understood_and_a_uuid_goes_before_an_index() -> None:
    script = {
        "memory_mb": 400,
        "slow_ms": 2.5,
        "hang": "process",
        "lost": True,
        "xids": [{"serial": 1, "number": 79}],
        "poison_tiles": [[0, 512]],
        "unreadable_tiles": [[512, 0, 2]],
    }
    simulation = parse(json.dumps({"devices": {"SIM-a": script, "0": {}}}))
    assert simulation.script_of("SIM-a", 0) == DeviceScript(
        memory_mb=400,
        slow_ms=2.5,
        hang=Hang.PROCESS,
        lost=True,
        xids=(Xid(1, 79),),
        poison_tiles=frozenset({(0, 512)}),
        unreadable_tiles={(512, 0): 2},
    )
    assert simulation.script_of("SIM-b", 0) == DeviceScript()
    assert parse(TEMPLATE) == Simulation()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "must be"),
        ('{"devices": []}', "must be"),
        ('{"devices": {"0": {"slow": 1}}}', "takes only: hang, "),
        ('{"devices": {"0": {"hang": "forever"}}}', "malformed"),
        ('{"devices": {"0": {"xids": [79]}}}', "malformed"),
        ('{"devices": {"0": {"poison_tiles": [[1, 2, 3]]}}}', "malformed"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        parse(text)


def test_a_broken_or_missing_file_disturbs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "simulation.json"
    file = SimulationFile(path)
    assert file.read() == Simulation()
    path.write_text('{"devices": {"0": {"slow_ms": 7}}}')
    assert file.read().script_of("SIM-a", 0).slow_ms == 7
    path.write_text('{"devices": {"0": {"slow')
    assert file.read().script_of("SIM-a", 0).slow_ms == 7
    path.unlink()
    assert file.read() == Simulation()
