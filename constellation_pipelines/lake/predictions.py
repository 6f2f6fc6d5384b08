"""GeoParquet of a run's tiles: GeoParquet 1.1 with a bbox covering, ZSTD."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from constellation_pipelines.lake.files import whole_file

# Named, so that a file without tiles has the same columns as all others in its folder.
TYPES = {
    "digest": "string",
    "row_off_px": "int32",
    "col_off_px": "int32",
    "height_px": "int32",
    "width_px": "int32",
    "state": "string",
    "area_km2": "float64",
    "top_class": "Int16",
    "gsd_mismatch": "bool",
    "error": "string",
    "created_at": "datetime64[us, UTC]",
}
NUMBERS = ("confidence", "valid_fraction", "cloud_fraction", "read_ms", "infer_ms")  # null allowed


def write(path: Path, tiles: Sequence[dict[str, Any]], common: dict[str, str]) -> None:
    """Write tiles (rows of `store.tiles.of_run`) with the columns `common` on every row.

    `class_counts` becomes JSON - chips by class value, pixels where the model is dense - and so do
    `statistics`; neither may hold what is no number. Footprints are lon/lat (OGC:CRS84).
    """
    import geopandas
    import pandas
    import pyarrow
    import shapely

    data: dict[str, Any] = {
        name: pandas.array([tile[name] for tile in tiles], dtype=dtype)
        for name, dtype in TYPES.items()
    }
    for name in NUMBERS:
        values = pyarrow.array([tile[name] for tile in tiles], pyarrow.float64())
        data[name] = pandas.arrays.ArrowExtensionArray(values)  # pandas' own makes NaN a null
    for name in ("class_counts", "statistics"):
        texts = [compact(tile[name]) for tile in tiles]
        data[name] = pandas.array(texts, dtype="string")
    for name, value in common.items():
        data[name] = pandas.array([value] * len(tiles), dtype="string")
    footprints = shapely.from_wkb([bytes(tile["footprint"]) for tile in tiles])
    frame = geopandas.GeoDataFrame(data, geometry=footprints, crs="OGC:CRS84")
    with whole_file(path) as partial:
        frame.to_parquet(
            partial,
            index=False,
            compression="zstd",
            schema_version="1.1.0",
            write_covering_bbox=True,
        )


def compact(figures: dict[str, float] | None) -> str | None:
    """Figures as JSON without spaces."""
    if figures is None:
        return None
    return json.dumps(figures, separators=(",", ":"), sort_keys=True, allow_nan=False)


def count(path: Path) -> int:
    """Rows of a file, by DuckDB: an independent reader."""
    return scalar("select count(*) from read_parquet(?)", path)


def not_finite(path: Path) -> int:
    """Rows of a file that hold NaN or an infinity in any number, by DuckDB."""
    bad = " or ".join(f"not coalesce(isfinite({name}), true)" for name in ("area_km2", *NUMBERS))
    return scalar(f"select count(*) from read_parquet(?) where {bad}", path)


def scalar(sql: str, path: Path) -> int:
    """The one number of a query over a file."""
    import duckdb

    with duckdb.connect() as connection:
        row = connection.execute(sql, [str(path)]).fetchone()
    return int(row[0]) if row else 0
