"""Log lines cannot be forged."""

import logging
import re

import pytest

from constellation_pipelines.observability.logs import LineFormatter, configure_logging


def formatted(message: str, *, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("room", logging.INFO, "", 0, message, None, info)
    return LineFormatter().format(record)


def test_a_line_has_time_level_and_logger() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00 INFO room all is well",
                        formatted("all is well"))  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a\nERROR room forged", "a\r\nforged", "\x1b[31mred", "\x9b31m", "a\u2028b", "a\x00b"]
)
def test_what_users_name_things_stays_on_one_line_without_controls(name: str) -> None:
    line = formatted(f"scene {name!s}")
    assert line.isprintable()
    assert "scene" in line


def test_a_traceback_is_indented_below_its_line() -> None:
    try:
        raise ValueError("two\nlines \x1b[31m")
    except ValueError as error:
        text = formatted("failed", error=error)
    head, *rest = text.split("\n")
    assert head.endswith("failed")
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in text


def test_the_log_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_logging()
        logging.getLogger("room").info("hello")
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("INFO room hello\n")
