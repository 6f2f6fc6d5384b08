"""GeoParquet of a run's tiles, read back by other readers than the writer."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pyarrow.parquet
import shapely

from constellation_pipelines.lake import predictions

COMMON = {"run_id": "r", "job_id": "j", "scene": "s", "model": "m@1"}


def tile(column: int, **changes: Any) -> dict[str, Any]:
    box = shapely.MultiPolygon([shapely.box(column, 0, column + 1, 1)])
    values: dict[str, Any] = {
        "digest": f"d{column}",
        "row_off_px": 0,
        "col_off_px": 512 * column,
        "height_px": 512,
        "width_px": 512,
        "state": "COMPLETED",
        "footprint": shapely.to_wkb(box),
        "area_km2": 12.5,
        "class_counts": {"3": 60, "1": 4},
        "top_class": 3,
        "confidence": 0.9,
        "valid_fraction": 1.0,
        "cloud_fraction": None,
        "statistics": None,
        "gsd_mismatch": False,
        "read_ms": 1.0,
        "infer_ms": 2.0,
        "error": None,
        "created_at": datetime(2026, 11, 23, tzinfo=UTC),
    }
    return values | changes


FAILED: dict[str, Any] = {
    "state": "FAILED",
    "class_counts": {},
    "top_class": None,
    "confidence": None,
    "error": "block cannot be read",
}


def test_other_readers_see_every_tile_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    predictions.write(path, [tile(0), tile(1, **FAILED)], COMMON)
    frame = geopandas.read_parquet(path)
    assert frame.total_bounds.tolist() == [0, 0, 2, 1]
    assert frame["top_class"].tolist()[0] == 3
    assert frame["confidence"].isna().tolist() == [False, True]
    row = duckdb.sql(f"select error, scene, class_counts from '{path}' where top_class is null")
    assert row.fetchall() == [("block cannot be read", "s", "{}")]


def test_the_file_is_geoparquet_with_a_covering(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    predictions.write(path, [tile(0)], COMMON)
    metadata = pyarrow.parquet.read_schema(path).metadata[b"geo"]
    geo = json.loads(metadata)
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]


def test_a_run_without_tiles_has_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    predictions.write(path, [], COMMON)
    assert predictions.count(path) == 0
    assert geopandas.read_parquet(path).empty


def test_a_folder_whose_first_file_is_empty_reads_as_one_table(tmp_path: Path) -> None:
    predictions.write(tmp_path / "1.parquet", [], COMMON)
    predictions.write(tmp_path / "2.parquet", [tile(0), tile(1, **FAILED)], COMMON)
    schemas = [pyarrow.parquet.read_schema(tmp_path / f"{n}.parquet") for n in (1, 2)]
    assert schemas[0].types == schemas[1].types
    rows = duckdb.sql(f"select digest, scene from '{tmp_path}/*.parquet' order by digest")
    assert rows.fetchall() == [("d0", "s"), ("d1", "s")]


def test_numbers_that_are_none_are_found(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    bad = [tile(0), tile(1, confidence=float("nan")), tile(2, area_km2=float("inf"))]
    predictions.write(path, [*bad, tile(3, **FAILED)], COMMON)
    assert predictions.count(path) == 4
    assert predictions.not_finite(path) == 2
