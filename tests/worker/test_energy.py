"""Energy of leases: all of a device's, shared out, none twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.worker.energy import EnergyMeter


def test_a_lease_takes_what_its_device_took_while_it_was_there() -> None:
    meter = EnergyMeter()
    meter.read("a", 1000.0, [])
    meter.read("a", 1100.0, [1])
    meter.read("a", 1150.0, [1])
    assert meter.take(1) == {"a": 150.0}
    assert meter.take(1) == {}


def test_leases_on_one_device_share_it() -> None:
    meter = EnergyMeter()
    meter.read("a", 0.0, [1])
    meter.read("a", 100.0, [1, 2])
    meter.read("a", 160.0, [2])
    assert meter.take(1) == {"a": 50.0}
    assert meter.take(2) == {"a": 110.0}


def test_a_lease_of_several_devices_has_the_energy_of_each() -> None:
    meter = EnergyMeter()
    for device, last in (("a", 30.0), ("b", 50.0)):
        meter.read(device, 0.0, [7])
        meter.read(device, last, [7])
    assert meter.take(7) == {"a": 30.0, "b": 50.0}


def test_a_device_that_does_not_tell_gives_no_energy() -> None:
    meter = EnergyMeter()
    meter.read("a", None, [1])
    meter.read("a", None, [1])
    assert meter.take(1) == {}


def test_a_counter_that_goes_back_takes_nothing_away() -> None:
    meter = EnergyMeter()
    meter.read("a", 500.0, [1])
    meter.read("a", 600.0, [1])
    meter.read("a", 10.0, [1])
    meter.read("a", 20.0, [1])
    assert meter.take(1) == {"a": 110.0}


@given(st.lists(st.tuples(st.floats(0, 1e6), st.sets(st.integers(1, 4), min_size=1)), min_size=2))
def test_nothing_is_lost_and_nothing_counted_twice(
    readings: list[tuple[float, set[int]]],
) -> None:
    meter, counter = EnergyMeter(), 0.0
    for rise, fences in readings:
        counter += rise
        meter.read("a", counter, fences)
    first = readings[0][0]
    shared = sum(sum(meter.take(fence).values()) for fence in range(1, 5))
    assert shared == pytest.approx(counter - first)
