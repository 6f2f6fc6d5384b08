"""The growing files of one run, read line by line: its log, and what its step prints."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from constellation_pipelines.observability.run_log import LOG_FILE, LONGEST_TEXT

STATE_FILE = "tail.json"
MOST_BYTES = 256 * 1024  # of one file at a time
STREAMS = {".out": "stdout", ".err": "stderr"}
# What Dagster prints of its own events; what is worth reading of it is in the run's log.
DAGSTERS_OWN = re.compile(
    r"(\x1b\[\d+m)?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - dagster - [A-Z]+ - "
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # a terminal's commands are no text


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a run said. `source` and `offset` name it among the run's lines."""

    source: str
    offset: int
    at: datetime
    stream: str  # log, stdout or stderr
    level: str
    text: str


@dataclass
class RunTail:
    """Where the reading of a run's files stands. Kept beside them, so that it can go on later."""

    folder: Path
    run_id: UUID
    job_id: UUID
    account: str
    offsets: dict[str, int] = field(default_factory=dict)
    open: bool = True  # the run goes on, or lines of it are still to be told

    @classmethod
    def load(cls, folder: Path) -> "RunTail | None":
        """What was kept in a run's folder; None where there is nothing, or nothing readable."""
        try:
            kept = json.loads((folder / STATE_FILE).read_text())
            ids = {name: UUID(kept[name]) for name in ("run_id", "job_id")}
            return cls(**{**kept, **ids, "folder": folder})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self) -> None:
        """Keep it, whole or not at all."""
        kept = {**asdict(self), "run_id": str(self.run_id), "job_id": str(self.job_id)}
        del kept["folder"]
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{STATE_FILE}"
        draft.write_text(json.dumps(kept))
        os.replace(draft, self.folder / STATE_FILE)

    def read(self, *, ended: bool = False) -> list[Line]:
        """Lines that have come since; of a run that has ended also a last one without an end.

        Reading does not move on: `told` does.
        """
        found = [line for path in self._files() for line in self._new_lines(path, ended)]
        return sorted(found, key=lambda line: line.at)  # stable: a file's lines keep their order

    def told(self, lines: list[Line]) -> None:
        """These lines need not be read again."""
        for line in lines:
            self.offsets[line.source] = max(self.offsets.get(line.source, 0), line.offset)

    def _files(self) -> list[Path]:
        captured = sorted((self.folder / "compute_logs").glob("*.*"))
        return [self.folder / LOG_FILE, *(one for one in captured if one.suffix in STREAMS)]

    def _new_lines(self, path: Path, ended: bool) -> Iterator[Line]:
        source = path.name
        offset = self.offsets.get(source, 0)
        for raw in read_lines(path, offset, ended):
            offset += len(raw)
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            if path.suffix in STREAMS:
                if DAGSTERS_OWN.match(text):
                    continue
                stream = STREAMS[path.suffix]
                level = "INFO" if stream == "stdout" else "WARNING"
                yield Line(source, offset, datetime.now(UTC), stream, level, plain(text))
            elif (line := logged(source, offset, text)) is not None:
                yield line


def read_lines(path: Path, offset: int, ended: bool) -> list[bytes]:
    """Whole lines from an offset on, with their ends; one that is too long is cut into several."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(MOST_BYTES)
    except OSError:
        return []
    lines = data.splitlines(keepends=True)
    whole = lines if ended or len(data) == MOST_BYTES else [x for x in lines if x.endswith(b"\n")]
    return [
        line[start : start + LONGEST_TEXT]
        for line in whole
        for start in range(0, len(line), LONGEST_TEXT)
    ]


def logged(source: str, offset: int, text: str) -> Line | None:
    """A line of the run's own log; None for one that was torn."""
    try:
        said: dict[str, Any] = json.loads(text)
        at = datetime.fromisoformat(said["at"])
        return Line(source, offset, at, "log", str(said["level"]), plain(str(said["text"])))
    except (ValueError, KeyError, TypeError):
        return None


def plain(text: str) -> str:
    """Text without control characters, save tabs and line feeds."""
    return CONTROL.sub("", text)
