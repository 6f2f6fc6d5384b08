"""GeoParquet out, DuckDB in."""
