"""GeoParquet written row group by row group: 1.1, a bbox covering, ZSTD."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from constellation_pipelines.lake.files import whole_file

EDGES = ("xmin", "ymin", "xmax", "ymax")
GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": [],  # not said: a footprint may be in two parts
            "covering": {"bbox": {edge: ["bbox", edge] for edge in EDGES}},
        }
    },
}


class GeoWriter:
    """Writes row groups of columns and geometries in lon/lat (OGC:CRS84)."""

    def __init__(self, path: Path, columns: Mapping[str, Any], common: Mapping[str, str]) -> None:
        """`columns` are Arrow types by name; those of `common` have one value on every row."""
        import pyarrow
        from pyarrow import parquet

        bbox = pyarrow.struct([(edge, pyarrow.float64()) for edge in EDGES])
        constant = dict.fromkeys(common, pyarrow.string())
        kinds = {**columns, **constant, "geometry": pyarrow.binary(), "bbox": bbox}
        self._schema = pyarrow.schema(kinds.items(), metadata={"geo": json.dumps(GEO)})
        self._common = common
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, columns: Mapping[str, Any], geometries: Sequence[shapely.Geometry]) -> None:
        """One row group: each column's values, as many as there are geometries."""
        import pyarrow

        if not len(geometries):
            return
        count, bounds = len(geometries), shapely.bounds(geometries)
        filled: dict[str, Any] = {name: [value] * count for name, value in self._common.items()}
        filled |= columns
        filled["geometry"] = list(shapely.to_wkb(geometries))
        arrays = [
            values
            if isinstance(values := filled[field.name], pyarrow.Array)
            else pyarrow.array(values, field.type)
            for field in self._schema
            if field.name != "bbox"
        ]
        sides = [pyarrow.array(np.ascontiguousarray(side)) for side in bounds.T]
        arrays.append(pyarrow.StructArray.from_arrays(sides, names=list(EDGES)))
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write what stands at a file's end."""
        self._writer.close()


@contextmanager
def geo_writer(
    path: Path, columns: Mapping[str, Any], common: Mapping[str, str]
) -> Iterator[GeoWriter]:
    """A writer of a file that appears under its name once it is whole and on disk."""
    with whole_file(path) as partial:
        writer = GeoWriter(partial, columns, common)
        try:
            yield writer
        finally:
            writer.close()
