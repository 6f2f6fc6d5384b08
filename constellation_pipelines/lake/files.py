"""Where results lie in the lake, and how a file appears there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of one run."""

    predictions: Path
    raster: Path
    item: Path
    work: Path  # folder of the engine's working rasters; removed once the run has its outputs


def files_of_run(lake: Path, *, run_id: str, model: str, date: str) -> RunFiles:
    """Paths of a run's files. `model` is name@version, `date` the run's day, yyyy-mm-dd."""
    rasters = lake / "rasters" / run_id
    return RunFiles(
        predictions=lake / "predictions" / f"model={model}" / f"date={date}" / f"{run_id}.parquet",
        raster=rasters / "classes.tif",
        item=rasters / "item.json",
        work=lake / "work" / run_id,
    )


def clear_drafts(files: RunFiles) -> None:
    """Remove what an attempt that was killed has left half written of a run's outputs.

    Only the holder of the run's lease may call it: a late writer finds its draft gone, and fails.
    """
    for path in (files.raster, files.predictions):
        # The folder of rasters is the run's own, so whatever is hidden there is a draft of it.
        pattern = ".*" if path == files.raster else f".{path.name}.*"
        for draft in path.parent.glob(pattern):
            draft.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name only when it is complete and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        flush(partial)
        partial.replace(path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
