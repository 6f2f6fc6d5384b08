"""What a child has of its parent, and what not."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.stack import child as children
from constellation_pipelines.worker import process

SIGNALS = ("grep", "-E", "^Sig(Ign|Blk):", "/proc/self/status")


@pytest.fixture
def deaf() -> Iterator[None]:
    """This process ignores what would end it, as in the background of a script, and holds TERM."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in process.ENDING}
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    for number, handler in before.items():
        signal.signal(number, handler)


def unheard(said: str) -> set[int]:
    """Numbers of the signals that /proc/<pid>/status names as ignored or blocked."""
    masks = [int(line.split()[1], 16) for line in said.splitlines()]
    assert len(masks) == 2
    return {number for number in range(1, 65) for mask in masks if mask >> (number - 1) & 1}


@pytest.mark.usefixtures("deaf")
def test_a_service_hears_the_signals_that_its_parent_ignores(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with told.open("wb") as log:
        assert children.spawn(SIGNALS, log=log).wait(60) == 0
    assert not unheard(told.read_text()) & set(process.ENDING)


@pytest.mark.usefixtures("deaf")
def test_an_engine_and_a_zygote_do_too(capfd: pytest.CaptureFixture[Any]) -> None:
    assert process.spawn(SIGNALS, env={}).wait(60) == 0
    assert not unheard(capfd.readouterr().out) & set(process.ENDING)
