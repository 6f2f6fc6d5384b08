"""Where results lie in the lake, and how a file appears there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of one run; which of them it has depends on its model."""

    predictions: Path
    classes: Path
    scores: Path
    values: Path
    embeddings: Path
    vectors: Path
    preview: Path
    item: Path
    work: Path  # folder of the engine's working rasters; removed once the run has its outputs

    def all(self) -> tuple[Path, ...]:
        """Every output that a run can have."""
        rasters = (self.classes, self.scores, self.values)
        tables = (self.predictions, self.embeddings, self.vectors)
        return (*tables, *rasters, *map(on_model_grid, rasters), self.preview, self.item)


def files_of_run(lake: Path, *, run_id: str, model: str, date: str) -> RunFiles:
    """Paths of a run's files. `model` is name@version, `date` the run's day, yyyy-mm-dd."""
    rasters = lake / "rasters" / run_id
    partition = Path(f"model={model}") / f"date={date}" / f"{run_id}.parquet"
    return RunFiles(
        predictions=lake / "predictions" / partition,
        classes=rasters / "classes.tif",
        scores=rasters / "scores.tif",
        values=rasters / "values.tif",
        embeddings=lake / "embeddings" / partition,
        vectors=lake / "vectors" / partition,
        preview=rasters / "preview.png",
        item=rasters / "item.json",
        work=lake / "work" / run_id,
    )


def on_model_grid(raster: Path) -> Path:
    """Where a raster lies on the grid that a model worked on, where that is not the scene's: what
    another run copies its tiles from.
    """
    return raster.parent / "model-grid" / raster.name


def clear_drafts(files: RunFiles) -> None:
    """Remove what an attempt that was killed has left half written of a run's outputs.

    Only the holder of the run's lease may call it: a late writer finds its draft gone, and fails.
    """
    shutil.rmtree(leaving(files.work), ignore_errors=True)
    for path in files.all():
        # The folder of rasters is the run's own, so whatever is hidden there is a draft of it.
        pattern = f".{path.name}.*" if path.suffix == ".parquet" else ".*"
        for draft in path.parent.glob(pattern):
            draft.unlink(missing_ok=True)


def remove_work(files: RunFiles) -> None:
    """Remove a run's working rasters all at once: whoever dies in between leaves no part of them
    that could be taken for the whole.
    """
    gone = leaving(files.work)
    shutil.rmtree(gone, ignore_errors=True)
    if files.work.exists():
        files.work.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def leaving(work: Path) -> Path:
    """What a folder is called while it is removed."""
    return work.with_name(f".{work.name}.gone")


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
