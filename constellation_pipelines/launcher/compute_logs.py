"""Captures what a step prints, for Dagster's UI, without helpers of its own.

Dagster's manager also copies the output to the run process's own streams, by two `tail` and two
Python processes per step. On a busy host they cost as much as the step's first tile.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Self, TextIO

from dagster import Field, Float, StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClassData

BASE_DIR = Field(StringSource, description="Folder of the files, one folder per run below it.")
POLLING_TIMEOUT = Field(
    Float,
    is_required=False,
    description="Seconds between two looks for new lines while Dagster's UI shows a growing log.",
)


class ConstellationComputeLogManager(LocalComputeLogManager):
    """Local files, written directly."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The fields of `compute_logs.config` in dagster.yaml."""
        return {"base_dir": BASE_DIR, "polling_timeout": POLLING_TIMEOUT}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Made from dagster.yaml; Dagster's own method would make a manager of its own class."""
        return cls(inst_data=inst_data, **config_value)

    def folder_of(self, run_id: str) -> Path:
        """Where the files of a run are."""
        return Path(self._base_dir) / run_id

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Send both streams to the step's files until the step ends."""
        out = self._file(log_key, ComputeIOType.STDOUT)
        err = self._file(log_key, ComputeIOType.STDERR)
        with (
            line_by_line(sys.stdout),
            redirect_to_file(sys.stdout, out),
            redirect_to_file(sys.stderr, err),
        ):
            yield CapturedLogContext(log_key)
        done = self.complete_artifact_path(log_key)  # type: ignore[no-untyped-call]  # Dagster's own
        Path(done).touch()

    def _file(self, log_key: Sequence[str], stream: ComputeIOType) -> str:
        path = self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[stream])
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return str(path)


@contextmanager
def line_by_line(stream: TextIO) -> Iterator[None]:
    """Have each line of a stream leave when it ends, as on a terminal: a file gets 8 kB at once."""
    if not isinstance(stream, TextIOWrapper):  # somebody else's, who knows what they want
        yield
        return
    before = stream.line_buffering
    stream.reconfigure(line_buffering=True)
    try:
        yield
    finally:
        stream.reconfigure(line_buffering=before)
