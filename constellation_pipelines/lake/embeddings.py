"""GeoParquet of embeddings: one row per chip, its vector a list of fixed length."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from constellation_pipelines.domain.window import Window
from constellation_pipelines.lake.geoparquet import GeoWriter, geo_writer

PLACE = ("row_off_px", "col_off_px", "height_px", "width_px")
BATCH_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip's place on the grid that the model worked on, and the digest of its tile's result."""

    tile_digest: str
    window: Window


class EmbeddingWriter:
    """Writes chips, some at a time."""

    def __init__(self, writer: GeoWriter, length: int) -> None:
        self._writer = writer
        self._length = length

    def write(
        self,
        chips: Sequence[Chip],
        vectors: NDArray[np.float32],
        footprints: Sequence[shapely.MultiPolygon],
    ) -> None:
        """A row group: chips with their vectors (chips, length) and footprints."""
        import pyarrow

        flat = pyarrow.array(np.ascontiguousarray(vectors, np.float32).ravel())
        columns: dict[str, Any] = {
            name: [getattr(chip.window, name) for chip in chips] for name in PLACE
        }
        columns["tile_digest"] = [chip.tile_digest for chip in chips]
        columns["embedding"] = pyarrow.FixedSizeListArray.from_arrays(flat, self._length)
        self._writer.write(columns, footprints)


@contextmanager
def embedding_writer(path: Path, length: int, common: dict[str, str]) -> Iterator[EmbeddingWriter]:
    """A writer of a run's embeddings; the file appears whole or not at all."""
    import pyarrow

    columns = {name: pyarrow.int32() for name in PLACE}
    columns["tile_digest"] = pyarrow.string()
    columns["embedding"] = pyarrow.list_(pyarrow.float32(), length)
    with geo_writer(path, columns, common) as writer:
        yield EmbeddingWriter(writer, length)


def read(
    path: Path, digests: Collection[str]
) -> Iterator[tuple[list[Window], NDArray[np.float32]]]:
    """Chips of these tiles with their vectors (chips, length), some at a time."""
    from pyarrow import compute, parquet

    with parquet.ParquetFile(path) as file:
        columns = [*PLACE, "tile_digest", "embedding"]
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            wanted = batch.filter(compute.is_in(batch["tile_digest"], list_of(digests)))
            places = zip(*(wanted[name].to_pylist() for name in PLACE), strict=True)
            vectors = wanted["embedding"].flatten().to_numpy().reshape(wanted.num_rows, -1)
            if wanted.num_rows:
                yield [Window(*place) for place in places], vectors


def list_of(texts: Collection[str]) -> Any:
    """As an Arrow array, to look values up in."""
    import pyarrow

    return pyarrow.array(list(texts), pyarrow.string())
