"""The peer: Dagster as it comes."""
