"""A run's own log as a file of JSON lines, which the worker reads as it grows."""

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

LOG_FILE = "log.jsonl"
LONGEST_TEXT = 16_000  # characters; a longer line is cut


class RunLogHandler(logging.Handler):
    """Appends what a run logs to `<folder>/log.jsonl`: its own lines, and Dagster's that matter.

    Dagster tells of each of its steps at level DEBUG; they are in its own event log.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LOG_FILE

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, whole. The file is not kept open: Dagster closes handlers between steps,
        and goes on to use them. A full disk is no reason to stop a run.
        """
        with (
            suppress(OSError),
            self._path.open("a", encoding="utf-8") as file,
        ):
            file.write(line_of(record) + "\n")


def line_of(record: logging.LogRecord) -> str:
    """A record as JSON: `at`, `level`, `text`."""
    at = datetime.fromtimestamp(record.created, UTC).isoformat()
    return json.dumps({"at": at, "level": record.levelname, "text": text_of(record)[:LONGEST_TEXT]})


def text_of(record: logging.LogRecord) -> str:
    """What a person would read: Dagster keeps it beside its own form, and an error beside that."""
    meta = getattr(record, "dagster_meta", None) or {}
    text = str(meta.get("orig_message") or record.getMessage())
    facts = getattr(meta.get("dagster_event"), "event_specific_data", None)
    error = getattr(facts, "error", None)
    return text if error is None else f"{text} {str(error.message).strip()}"
