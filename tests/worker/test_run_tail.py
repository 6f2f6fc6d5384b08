"""A run's files, read line by line while they grow."""

import json
import logging
from pathlib import Path
from uuid import uuid4

import pytest

from constellation_pipelines.observability.run_log import LOG_FILE, LONGEST_TEXT, RunLogHandler
from constellation_pipelines.worker.run_tail import MOST_BYTES, RunTail


@pytest.fixture
def tail(tmp_path: Path) -> RunTail:
    (tmp_path / "compute_logs").mkdir()
    return RunTail(tmp_path, uuid4(), uuid4(), "local")


def out(tail: RunTail) -> Path:
    return tail.folder / "compute_logs" / "step.out"


def texts(tail: RunTail, *, ended: bool = False) -> list[str]:
    lines = tail.read(ended=ended)
    tail.told(lines)
    return [line.text for line in lines]


def test_lines_come_once_and_in_order(tail: RunTail) -> None:
    with out(tail).open("a") as file:
        print("one", "two", sep="\n", file=file, flush=True)
        assert texts(tail) == ["one", "two"]
        print("three", file=file, flush=True)
        assert texts(tail) == ["three"]
        assert texts(tail) == []


def test_half_a_line_waits_for_its_end_or_for_the_run_s(tail: RunTail) -> None:
    with out(tail).open("a") as file:
        print("begun", end="", file=file, flush=True)
        assert texts(tail) == []
        print(" and done\nlast", end="", file=file, flush=True)
        assert texts(tail) == ["begun and done"]
    assert texts(tail, ended=True) == ["last"]


def test_what_was_read_but_not_told_comes_again(tail: RunTail) -> None:
    out(tail).write_text("one\ntwo\n")
    lines = tail.read()
    tail.told(lines[:1])
    assert texts(tail) == ["two"]


def test_reading_goes_on_where_an_earlier_worker_stood(tail: RunTail) -> None:
    out(tail).write_text("one\ntwo\n")
    assert texts(tail) == ["one", "two"]
    tail.save()
    again = RunTail.load(tail.folder)
    assert again == tail
    with out(tail).open("a") as file:
        file.write("three\n")
    assert texts(again) == ["three"]


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"run_id": "5"}', '{"run_id": null}'])
def test_a_state_that_cannot_be_read_is_none(tail: RunTail, kept: str) -> None:
    (tail.folder / "tail.json").write_text(kept)
    assert RunTail.load(tail.folder) is None


def test_a_line_that_is_too_long_comes_in_pieces(tail: RunTail) -> None:
    out(tail).write_text("x" * (2 * LONGEST_TEXT + 5) + "\n")
    assert [len(text) for text in texts(tail)] == [LONGEST_TEXT, LONGEST_TEXT, 5]


def test_much_output_is_read_piece_by_piece(tail: RunTail) -> None:
    lines = [f"{n} {'y' * 90}" for n in range(4 * MOST_BYTES // 100)]
    out(tail).write_text("\n".join(lines) + "\n")
    found: list[str] = []
    while more := texts(tail):
        found += more
    assert "".join(found) == "".join(lines)


def test_bytes_that_are_no_text_do_no_harm(tail: RunTail) -> None:
    out(tail).write_bytes(b"\xff\xfe\x1b[31mred\x00\x07\r\n")
    (text,) = texts(tail)
    assert text.endswith("[31mred")
    assert text.isprintable() or "�" in text


def test_a_torn_line_of_the_log_is_left_out(tail: RunTail) -> None:
    whole = json.dumps({"at": "2026-11-25T00:00:00+00:00", "level": "INFO", "text": "whole"})
    (tail.folder / LOG_FILE).write_text(f'{whole[:20]}\n"text"\n{whole}\n')
    assert texts(tail) == ["whole"]


def test_what_a_run_logs_has_its_level_and_its_time(tail: RunTail) -> None:
    handler = RunLogHandler(tail.folder)
    logger = logging.Logger("run")
    logger.addHandler(handler)
    logger.warning("12 of %d tiles", 40)
    logger.debug("of no interest")
    (line,) = tail.read()
    assert (line.stream, line.level, line.text) == ("log", "WARNING", "12 of 40 tiles")
    assert line.at.tzinfo is not None
