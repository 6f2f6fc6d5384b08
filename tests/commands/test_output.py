"""Tables for people."""

import re
import sys

import pytest

from constellation_pipelines.commands.output import print_table
from constellation_pipelines.domain.ids import new_id

ROWS = [(str(new_id()), "a name of some length, as scenes have them", n * 1000.5) for n in (1, 22)]
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def printed(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """The lines of a table in a terminal of so many columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(("JOB", "NAME", "KM2"), ROWS, empty="nothing")
    return COLOURS.sub("", capsys.readouterr().out).splitlines()


def test_an_id_is_not_broken_where_there_is_room_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(70, monkeypatch, capsys)
    for job, _, _ in ROWS:
        assert any(job in line for line in lines)
    assert max(map(len, lines)) <= 70


def test_a_narrow_terminal_breaks_everything_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(50, monkeypatch, capsys)
    assert not any(ROWS[0][0] in line for line in lines)
    assert max(map(len, lines)) <= 50
    told = "".join(line[:30].split()[0] for line in lines if line.strip())
    assert ROWS[0][0] in told, "it is all there"


def test_figures_are_aligned_at_their_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = [
        line.rstrip()
        for line in printed(120, monkeypatch, capsys)
        if line.rstrip().endswith(("1,000.5", "22,011.0"))
    ]
    assert len({len(line) for line in ends}) == 1
    assert len(ends) == 2
