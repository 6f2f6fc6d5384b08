"""Whose fault an Xid is."""

import pytest

from constellation_pipelines.gpu.xid import LOST, XidClass, classify, describe


@pytest.mark.parametrize("number", [48, 63, 79, 94, 95, LOST])
def test_these_are_the_devices_fault(number: int) -> None:
    assert classify(number) is XidClass.DEVICE


@pytest.mark.parametrize("number", [13, 31, 43, 45, 68, 109])
def test_these_are_the_runs_own(number: int) -> None:
    assert classify(number) is XidClass.RUN


@pytest.mark.parametrize("number", [0, 32, 62, 64, 119, 999])
def test_others_are_kept_and_nothing_is_done(number: int) -> None:
    assert classify(number) is XidClass.OTHER


def test_an_operator_reads_the_number_and_what_it_means() -> None:
    assert describe(79) == "Xid 79: the device has fallen off the bus"
    assert describe(LOST).startswith("the device does not answer any more")
    assert describe(119) == "Xid 119: not one that is acted upon"
